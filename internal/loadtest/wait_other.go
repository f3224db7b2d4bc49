//go:build !linux

package loadtest

import "time"

// sleepUntil blocks until an instant.
func sleepUntil(until time.Time) { time.Sleep(time.Until(until)) }
