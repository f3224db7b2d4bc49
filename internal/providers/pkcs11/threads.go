package pkcs11

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/capsign/cap/capsign"
)

// threads is a fixed number of goroutines that call into a module, so that no
// caller's does: a call may never return, and only the goroutine that is inside
// it, with the operating system's thread below, is then lost. Callers queue for
// them in order.
type threads struct {
	wait    string // the name of the span of a wait for one of them; empty: none
	jobs    chan *job
	stopped chan struct{} // closed by stop
	running sync.WaitGroup
	all     []*thread
}

// thread is one of the goroutines. Its fields but since are its own.
type thread struct {
	since   atomic.Int64 // when it entered the module, as uptime; zero: it is not inside
	session uint         // its session's handle, in era
	era     uint64       // the module's era that session belongs to; zero: it has none
}

// job is one piece of work for a thread.
type job struct {
	work   func(*thread) error
	late   func(error) // what to do with work's error where the caller has left; nil: nothing
	left   atomic.Bool
	taken  atomic.Pointer[thread]
	done   chan struct{} // closed when err is set
	result error
}

// started is where uptime counts from.
var started = time.Now()

// uptime returns the monotonic time since the process started, at least 1.
func uptime() int64 { return int64(time.Since(started)) + 1 }

// newThreads starts n goroutines; stop ends them. A wait for one of them is a
// span of that name, where it is not empty.
func newThreads(n int, wait string) *threads {
	ts := &threads{wait: wait, jobs: make(chan *job), stopped: make(chan struct{})}
	for range n {
		t := new(thread)
		ts.all = append(ts.all, t)
		ts.running.Go(func() { ts.serve(t) })
	}
	return ts
}

// stop ends the goroutines and waits for them. None may be inside the module.
func (ts *threads) stop() {
	close(ts.stopped)
	ts.running.Wait()
}

// serve does one job after the other.
func (ts *threads) serve(t *thread) {
	for {
		select {
		case j := <-ts.jobs:
			j.taken.Store(t)
			j.result = j.work(t)
			close(j.done)
			if j.left.Load() && j.late != nil {
				j.late(j.result)
			}
		case <-ts.stopped:
			return
		}
	}
}

// do has a thread do work and returns its error. Where ctx ends first, the
// error wraps capsign.ProviderTimeout; where a call inside the module takes
// longer than limit, this work's or, while it waits for a thread, that of every
// thread, it wraps capsign.ProviderHung. The work may go on after that, so it
// must not touch what its caller reads then.
func (ts *threads) do(ctx context.Context, limit time.Duration, work func(*thread) error) error {
	return ts.run(ctx, limit, &job{work: work, done: make(chan struct{})})
}

// run is do for a job that knows what to do when its caller has left.
func (ts *threads) run(ctx context.Context, limit time.Duration, j *job) error {
	if ctx.Err() != nil {
		return errTimeout
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	if err := ts.hand(ctx, limit, timer, j); err != nil {
		return err
	}
	return j.await(ctx, limit, timer)
}

// What do returns where a caller does not wait for its work any longer.
var (
	errTimeout = fmt.Errorf("no answer in time: %w", capsign.ProviderTimeout)
	errHung    = fmt.Errorf("call does not return: %w", capsign.ProviderHung)
	errStopped = fmt.Errorf("closed: %w", capsign.ProviderUnavailable)
)

// hand gives j to the next free thread.
func (ts *threads) hand(ctx context.Context, limit time.Duration, timer *time.Timer, j *job) (err error) {
	select {
	case ts.jobs <- j:
		return nil
	default: // none is free
	}
	span := startWait(ctx, ts.wait)
	defer func() { endWait(span, err) }()
	for {
		free := ts.untilStuck(limit)
		if free <= 0 {
			return errHung
		}
		timer.Reset(free)
		select {
		case ts.jobs <- j:
			return nil
		case <-ctx.Done():
			return errTimeout
		case <-ts.stopped:
			return errStopped
		case <-timer.C:
		}
	}
}

// await waits for the outcome of a job that a thread has taken.
func (j *job) await(ctx context.Context, limit time.Duration, timer *time.Timer) error {
	timer.Reset(limit)
	for {
		select {
		case <-j.done:
			return j.result
		case <-ctx.Done():
			return j.leave(errTimeout, limit)
		case <-timer.C:
		}
		left := limit - j.age()
		if left <= 0 {
			return j.leave(errHung, limit)
		}
		timer.Reset(left)
	}
}

// leave gives up on j, unless it has just been done: then its outcome counts.
func (j *job) leave(err error, limit time.Duration) error {
	j.left.Store(true)
	select {
	case <-j.done:
		return j.result
	default:
	}
	if j.age() >= limit {
		return errHung
	}
	return err
}

// age returns how long j's thread has been inside the module's present call.
func (j *job) age() time.Duration {
	if t := j.taken.Load(); t != nil {
		return t.age()
	}
	return 0
}

// untilStuck returns how long it takes until every thread may be inside the
// module for longer than limit; zero or less means that they are.
func (ts *threads) untilStuck(limit time.Duration) time.Duration {
	var youngest time.Duration
	for i, t := range ts.all {
		if age := t.age(); i == 0 || age < youngest {
			youngest = age
		}
	}
	return limit - youngest
}

// oneStuck reports whether any thread is inside the module for longer than
// limit.
func (ts *threads) oneStuck(limit time.Duration) bool {
	for _, t := range ts.all {
		if t.age() >= limit {
			return true
		}
	}
	return false
}

// age returns how long the thread has been inside the module; zero means that
// it is not.
func (t *thread) age() time.Duration {
	since := t.since.Load()
	if since == 0 {
		return 0
	}
	return time.Duration(uptime() - since)
}

// enter and leave stand around each call into the module.
func (t *thread) enter() { t.since.Store(uptime()) }
func (t *thread) leave() { t.since.Store(0) }
