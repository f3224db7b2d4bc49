package azurekms

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/capsign/cap/internal/providers"
)

// measure has callers sign at once, each a little later than the one before, and
// returns the quantiles of the time that they waited beyond serviceTime.
func measure(t *testing.T, provider *Provider, callers, each int, serviceTime time.Duration) func(quantile float64) time.Duration {
	t.Helper()
	var mu sync.Mutex
	var added []time.Duration
	var running sync.WaitGroup
	for caller := range callers {
		running.Go(func() {
			<-time.After(serviceTime * time.Duration(caller) / time.Duration(callers)) // or they would go in step
			for range each {
				start := time.Now()
				if _, err := provider.Sign(t.Context(), "", []byte("measured")); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				added = append(added, time.Since(start)-serviceTime)
				mu.Unlock()
			}
		})
	}
	running.Wait()
	slices.Sort(added)
	return func(quantile float64) time.Duration { return added[int(quantile*float64(len(added)-1))] }
}

// mustThrottle says that err carries the vendor's word on when to come back.
func mustThrottle(t *testing.T, err error, want time.Duration) {
	t.Helper()
	throttled, ok := errors.AsType[providers.Throttled](err)
	if !ok || throttled.RetryAfter != want {
		t.Errorf("%v says to come back after %v, want %v", err, throttled.RetryAfter, want)
	}
}
