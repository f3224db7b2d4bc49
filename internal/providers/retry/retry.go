// Package retry is the one retry loop of the cloud providers. Their SDKs' own
// retries are off: inside a short deadline those turn every passing fault into
// a timeout.
package retry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
)

// Policy bounds the tries of one operation. Its zero value tries once.
type Policy struct {
	// Tries is the most tries; zero and one mean one.
	Tries int
	// Attempt bounds one try; zero means only the whole operation's deadline.
	Attempt time.Duration
	// First is the most that is waited before the second try; the bound doubles
	// with every further one, and the wait is random below it.
	First time.Duration
}

// Default is what the cloud providers use: four tries of at most 2 s.
var Default = Policy{Tries: 4, Attempt: 2 * time.Second, First: 50 * time.Millisecond}

// passing are the codes that another try may not meet.
var passing = []capsign.Code{capsign.ProviderTimeout, capsign.ProviderUnavailable, capsign.Throttled}

// Do calls try until it succeeds, fails for good, or the policy or ctx ends,
// and returns the last error that was not ctx's own end: it says what is wrong,
// and a deadline does not. Errors of try wrap one capsign.Code; it must return
// soon after its context is done, with capsign.ProviderTimeout. Without any
// true error, a done ctx is capsign.ProviderTimeout too.
func (p Policy) Do(ctx context.Context, try func(context.Context) error) error {
	var last error
	for n := range max(1, p.Tries) {
		if n > 0 && !sleep(ctx, p.pause(n, last)) {
			return last
		}
		if ctx.Err() != nil {
			break
		}
		err := p.attempt(ctx, try)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || !errors.Is(err, capsign.ProviderTimeout) || last == nil {
			last = err
		}
		if !isPassing(err) {
			return err
		}
	}
	if last == nil {
		return fmt.Errorf("retry: no time left: %w", capsign.ProviderTimeout)
	}
	return last
}

// attempt calls try once, within the policy's bound.
func (p Policy) attempt(ctx context.Context, try func(context.Context) error) error {
	if p.Attempt > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.Attempt)
		defer cancel()
	}
	return try(ctx)
}

// pause returns how long to wait before try n, which is 1 for the second: what
// the vendor asked for, or a random time below the growing bound.
func (p Policy) pause(n int, last error) time.Duration {
	if throttled, ok := errors.AsType[providers.Throttled](last); ok && throttled.RetryAfter > 0 {
		return throttled.RetryAfter
	}
	bound := p.First << min(n-1, 10)
	return rand.N(max(bound, 1)) //nolint:gosec // jitter, not a secret
}

// sleep waits for d, unless ctx would end before that: then it returns false at
// once.
func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// isPassing reports whether another try may succeed.
func isPassing(err error) bool {
	code, ok := errors.AsType[capsign.Code](err)
	return ok && slices.Contains(passing, code)
}
