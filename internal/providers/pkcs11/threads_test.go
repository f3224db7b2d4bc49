package pkcs11

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/capsign/cap/capsign"
)

// inside is work that stays inside the module until release is closed.
func inside(release <-chan struct{}) func(*thread) error {
	return func(th *thread) error {
		th.enter()
		defer th.leave()
		<-release
		return nil
	}
}

func TestHungCallsAreToldFromLateOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 5 * time.Second
		ts := newThreads(1, "")
		release := make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := ts.do(ctx, limit, inside(release)); !errors.Is(err, capsign.ProviderTimeout) || time.Since(start) != time.Second {
			t.Errorf("a young call with a done context: %v after %v", err, time.Since(start))
		}
		if err := ts.do(t.Context(), limit, inside(release)); !errors.Is(err, capsign.ProviderHung) || time.Since(start) != limit {
			t.Errorf("behind a call that hangs: %v after %v", err, time.Since(start))
		}
		if err := ts.do(t.Context(), limit, inside(release)); !errors.Is(err, capsign.ProviderHung) || time.Since(start) != limit {
			t.Errorf("after that: %v after %v", err, time.Since(start))
		}
		close(release)
		synctest.Wait()
		if err := ts.do(t.Context(), limit, inside(release)); err != nil {
			t.Errorf("when it has returned: %v", err)
		}
		ts.stop()
		if err := ts.do(t.Context(), limit, inside(release)); !errors.Is(err, capsign.ProviderUnavailable) {
			t.Errorf("after stop: %v", err)
		}
	})
}

func TestNothingIsDoneForWhoHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newThreads(1, "")
		synctest.Wait() // the thread waits for jobs
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		done := false
		err := ts.do(ctx, time.Second, func(*thread) error { done = true; return nil })
		ts.stop()
		if !errors.Is(err, capsign.ProviderTimeout) || done {
			t.Errorf("%v, done %t", err, done)
		}
	})
}

// A job of several calls may take longer than the limit of one.
func TestTheLimitIsOfOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newThreads(1, "")
		err := ts.do(t.Context(), time.Second, func(th *thread) error {
			for range 5 {
				th.enter()
				time.Sleep(700 * time.Millisecond)
				th.leave()
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		ts.stop()
	})
}

func TestCallersQueueInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newThreads(1, "")
		release := make(chan struct{})
		var callers sync.WaitGroup
		callers.Go(func() { _ = ts.do(t.Context(), time.Minute, inside(release)) })
		synctest.Wait()
		var order []int
		for i := range 10 {
			callers.Go(func() {
				_ = ts.do(t.Context(), time.Minute, func(*thread) error { order = append(order, i); return nil })
			})
			synctest.Wait()
		}
		close(release)
		callers.Wait()
		for i, n := range order {
			if i != n {
				t.Fatalf("served in the order %v", order)
			}
		}
		ts.stop()
	})
}

func TestWhoHasLeftIsToldLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newThreads(1, "")
		release := make(chan struct{})
		var late atomic.Pointer[error]
		failed := errors.New("failed late")
		err := ts.run(t.Context(), time.Second, &job{
			work: func(th *thread) error { _ = inside(release)(th); return failed },
			late: func(err error) { late.Store(&err) },
			done: make(chan struct{}),
		})
		if !errors.Is(err, capsign.ProviderHung) || late.Load() != nil {
			t.Errorf("%v, %v", err, late.Load())
		}
		close(release)
		synctest.Wait()
		if told := late.Load(); told == nil || !errors.Is(*told, failed) {
			t.Error("nobody was told")
		}
		ts.stop()
	})
}

func TestGateWaitsUntilNobodyIsInside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		for range 2 {
			if !g.enter() {
				t.Fatal("an open gate lets nobody in")
			}
		}
		if err := g.shut(time.Second); !errors.Is(err, capsign.ProviderHung) {
			t.Errorf("shut with two inside: %v", err)
		}
		if !g.enter() {
			t.Error("the gate stayed shut")
		}
		for range 3 {
			go func() {
				time.Sleep(100 * time.Millisecond)
				g.leave()
			}()
		}
		if err := g.shut(time.Second); err != nil {
			t.Errorf("shut: %v", err)
		}
		if g.enter() {
			t.Error("a shut gate let somebody in")
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.wait(short); !errors.Is(err, capsign.ProviderTimeout) {
			t.Errorf("wait: %v", err)
		}
		go func() {
			time.Sleep(100 * time.Millisecond)
			g.open()
		}()
		if err := g.wait(t.Context()); err != nil || !g.enter() {
			t.Errorf("wait for the gate to open: %v", err)
		}
	})
}
