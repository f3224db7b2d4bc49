package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/capsign/cap/capsign"
)

// openLoop measures one-offs that arrive by themselves, at 50 % and 80 % of
// what the system can do. It finds that out first, with callers that wait.
func openLoop(sync durability) func(context.Context, *pass) (figures, error) {
	return func(ctx context.Context, p *pass) (_ figures, err error) {
		site, err := embeddedSite(ctx, p, sync)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, site.stop()) }()
		unverified := capsign.ClientConfig{SkipVerify: true, Timeout: patience}
		closed, err := saturate(ctx, p, site, callSign(unverified, inFlight))
		if err != nil {
			return nil, err
		}
		if closed[perSecond] == 0 {
			return figures{saturated: 0}, nil // stood still: there is no share of nothing
		}
		client, err := capsign.NewClient(ctx, site.nc, unverified)
		if err != nil {
			return nil, err
		}
		defer client.Close()
		half, err := arrive(ctx, p, client, 0.5*closed[perSecond])
		if err != nil {
			return nil, err
		}
		most, err := arrive(ctx, p, client, 0.8*closed[perSecond])
		return figures{
			saturated: closed[perSecond],
			p50At50:   half[p50], p99At50: half[p99], p50At80: most[p50], p99At80: most[p99],
			cpu: (half[cpu] + most[cpu]) / 2, late: max(half[late], most[late]),
		}, err
	}
}

// arrive sends one-offs at a mean rate per second, as a Poisson process, no
// matter how many are unanswered. Each is timed from when it should have been
// sent, so that a late generator hides nothing.
func arrive(ctx context.Context, p *pass, client *capsign.Client, rate float64) (figures, error) {
	waits, delays := newLatencies(), newLatencies()
	used, err := cpuTime(0)
	if err != nil {
		return nil, err
	}
	var calls sync.WaitGroup
	var failed atomic.Pointer[error]
	n := 0
	for intended := range poisson(rate, 2*p.pace.window) {
		delays.record(time.Since(intended))
		msg := p.messages[n%len(p.messages)]
		calls.Go(func() {
			if _, err := client.Sign(ctx, msg); err != nil {
				failed.Store(&err)
			}
			waits.record(time.Since(intended))
		})
		n++
	}
	calls.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	now, err := cpuTime(0)
	return figures{
		p50: waits.quantile(50), p99: waits.quantile(99), late: delays.quantile(99),
		cpu: (now - used).Seconds() * 1000 / float64(n),
	}, err
}

// poisson yields the instants of a Poisson process of so many events per
// second, each when it has come, for d. It sleeps in the kernel: the runtime's
// timers may be a millisecond late on an idle machine.
func poisson(rate float64, d time.Duration) func(yield func(time.Time) bool) {
	return func(yield func(time.Time) bool) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		random := rand.New(rand.NewPCG(1, 2))
		began := time.Now()
		for at := time.Duration(0); at < d; at += time.Duration(random.ExpFloat64() / rate * float64(time.Second)) {
			sleepUntil(began.Add(at))
			if !yield(began.Add(at)) {
				return
			}
		}
	}
}

// sleepUntil blocks the thread until t.
func sleepUntil(t time.Time) {
	for d := time.Until(t); d > 0; d = time.Until(t) {
		left := unix.NsecToTimespec(d.Nanoseconds())
		_ = unix.Nanosleep(&left, nil) // interrupted, it is begun again
	}
}
