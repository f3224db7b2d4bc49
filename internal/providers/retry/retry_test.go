package retry_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
	"github.com/capsign/cap/internal/providers/retry"
)

var policy = retry.Policy{Tries: 4, Attempt: time.Second, First: 100 * time.Millisecond}

// script returns errors one after the other, then nil, and counts.
type script struct {
	errs  []error
	calls int
}

func (s *script) try(context.Context) error {
	s.calls++
	if s.calls <= len(s.errs) {
		return s.errs[s.calls-1]
	}
	return nil
}

func TestTries(t *testing.T) {
	unavailable := fmt.Errorf("try: %w", capsign.ProviderUnavailable)
	for _, test := range []struct {
		name  string
		errs  []error
		calls int
		want  error
	}{
		{"succeeds at once", nil, 1, nil},
		{"succeeds after passing faults", []error{unavailable, capsign.Throttled, capsign.ProviderTimeout}, 4, nil},
		{"a fault for good ends it", []error{unavailable, capsign.ProviderDenied}, 2, capsign.ProviderDenied},
		{"the tries end it", []error{unavailable, unavailable, unavailable, capsign.Throttled, nil}, 4, capsign.Throttled},
		{"an error without a code is for good", []error{errors.ErrUnsupported}, 1, errors.ErrUnsupported},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := script{errs: test.errs}
				if err := policy.Do(t.Context(), s.try); !errors.Is(err, test.want) || s.calls != test.calls {
					t.Errorf("%d calls, %v; want %d, %v", s.calls, err, test.calls, test.want)
				}
			})
		})
	}
}

// The deadline must not hide what was wrong before it.
func TestTheLastTrueErrorIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1200*time.Millisecond)
		defer cancel()
		calls := 0
		err := policy.Do(ctx, func(ctx context.Context) error {
			if calls++; calls == 1 {
				return capsign.ProviderUnavailable
			}
			<-ctx.Done()
			return capsign.ProviderTimeout
		})
		if !errors.Is(err, capsign.ProviderTimeout) && !errors.Is(err, capsign.ProviderUnavailable) || calls < 2 {
			t.Errorf("%d calls, %v", calls, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		first := true
		err := policy.Do(ctx, func(ctx context.Context) error {
			if first {
				first = false
				return capsign.ProviderUnavailable
			}
			<-ctx.Done()
			return capsign.ProviderTimeout
		})
		if !errors.Is(err, capsign.ProviderUnavailable) {
			t.Errorf("the deadline turned the fault into %v", err)
		}
	})
}

func TestADoneContextTriesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var s script
	if err := policy.Do(ctx, s.try); !errors.Is(err, capsign.ProviderTimeout) || s.calls != 0 {
		t.Errorf("%d calls, %v", s.calls, err)
	}
}

func TestTheVendorsWaitIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := script{errs: []error{providers.Throttled{RetryAfter: 3 * time.Second}}}
		if err := policy.Do(t.Context(), s.try); err != nil || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		s, began = script{errs: []error{providers.Throttled{RetryAfter: 3 * time.Second}}}, time.Now()
		err := policy.Do(ctx, s.try)
		if throttled, ok := errors.AsType[providers.Throttled](err); !ok || throttled.RetryAfter != 3*time.Second || time.Since(began) != 0 {
			t.Errorf("a wait beyond the deadline: %v after %v", err, time.Since(began))
		}
	})
}

func TestOneTryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := retry.Policy{Attempt: time.Second}.Do(t.Context(), func(ctx context.Context) error {
			<-ctx.Done()
			return capsign.ProviderTimeout
		})
		if !errors.Is(err, capsign.ProviderTimeout) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
