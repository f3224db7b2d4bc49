package loadtest

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleepUntil blocks the thread until an instant.
func sleepUntil(until time.Time) {
	for d := time.Until(until); d > 0; d = time.Until(until) {
		left := unix.NsecToTimespec(d.Nanoseconds())
		_ = unix.Nanosleep(&left, nil) // interrupted, it is begun again
	}
}
