package main

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/capsign/cap/internal/providers"
)

// serviceTime is what the clouds' servers here take for a signature.
const serviceTime = 40 * time.Millisecond

// cloudTurns is how often provider and SDK take turns within a round of a row.
const cloudTurns = 3

// cloud is a key management service on loopback, in this process, with one
// P-256 key and two clients of it.
type cloud struct {
	provider providers.Provider
	// sdk has the vendor's SDK sign as it does by default: its retries, its
	// connections.
	sdk  func(context.Context) error
	stop func() error
}

// newCloud starts one; dir is empty and gone afterwards.
type newCloud func(ctx context.Context, dir string) (*cloud, error)

// sign signs with cap's provider.
func (c *cloud) sign(ctx context.Context) error {
	_, err := c.provider.Sign(ctx, "", []byte("a message"))
	return err
}

// inCloud measures what a provider and the SDK add to the service's time with
// 64 signatures in flight. They take turns, and so does a mere sleep of that
// time, which is what the server's own timer costs on this machine.
func inCloud(open newCloud) func(context.Context, *pass) (figures, error) {
	return func(ctx context.Context, p *pass) (_ figures, err error) {
		c, err := open(ctx, p.dir)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(p.waiting))
		ours, sdk, slept := newLatencies(), newLatencies(), newLatencies()
		for range cloudTurns {
			err := errors.Join(keep(ctx, p, c.sign, ours), keep(ctx, p, c.sdk, sdk), keep(ctx, p, sleep, slept))
			if err != nil {
				return nil, err
			}
		}
		f := clouded(ours, sdk)
		f[p95Sleep] = slept.quantile(95) - float64(serviceTime.Milliseconds())
		return f, nil
	}
}

// sleep takes the service's time.
func sleep(context.Context) error {
	time.Sleep(serviceTime)
	return nil
}

// keep keeps 64 calls under way for a quarter of p's window, after half a
// warm-up, and records how long each that began then took.
func keep(ctx context.Context, p *pass, call func(context.Context) error, waits *latencies) error {
	counts := time.Now().Add(max(p.pace.warm/2, 2*serviceTime))
	ends := counts.Add(p.pace.window / 4)
	return sixtyFour(func(caller int) error {
		time.Sleep(time.Duration(caller) * serviceTime / inFlight) // or they would all ask at once, again and again
		for began := time.Now(); began.Before(ends); began = time.Now() {
			if err := call(ctx); err != nil {
				return err
			}
			if began.After(counts) {
				waits.record(time.Since(began))
			}
		}
		return nil
	})
}

// sixtyFour calls work in 64 goroutines and returns an error of one of them.
func sixtyFour(work func(caller int) error) error {
	var calling sync.WaitGroup
	var failed atomic.Pointer[error]
	for caller := range inFlight {
		calling.Go(func() {
			if err := work(caller); err != nil {
				failed.Store(&err)
			}
		})
	}
	calling.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// inWaves measures what 64 signatures take that are asked for at one moment, as
// a batch does it; the next 64 follow when all are there. That is where a client
// makes new connections that keeps too few.
func inWaves(open newCloud) func(context.Context, *pass) (figures, error) {
	return func(ctx context.Context, p *pass) (_ figures, err error) {
		c, err := open(ctx, p.dir)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(p.waiting))
		ours, sdk := newLatencies(), newLatencies()
		for began, n := time.Now(), 0; n < 2 || time.Since(began) < p.pace.window; n++ {
			if n == 1 { // the first of each was for making connections
				ours, sdk = newLatencies(), newLatencies()
			}
			if err := errors.Join(wave(ctx, c.sign, ours), wave(ctx, c.sdk, sdk)); err != nil {
				return nil, err
			}
		}
		return clouded(ours, sdk), nil
	}
}

// wave makes 64 calls at once and records how long each took.
func wave(ctx context.Context, call func(context.Context) error, waits *latencies) error {
	began := time.Now()
	return sixtyFour(func(int) error {
		err := call(ctx)
		waits.record(time.Since(began))
		return err
	})
}

// clouded returns what provider and SDK add to the service's time.
func clouded(ours, sdk *latencies) figures {
	service := float64(serviceTime.Milliseconds())
	return figures{
		p50Added: ours.quantile(50) - service, p95Added: ours.quantile(95) - service, p99Added: ours.quantile(99) - service,
		p50SDK: sdk.quantile(50) - service, p95SDK: sdk.quantile(95) - service, p99SDK: sdk.quantile(99) - service,
	}
}

// oneByOne measures signatures of a provider that are asked for one after the
// other, with a millisecond's pause before each.
func oneByOne(open newCloud) func(context.Context, *pass) (figures, error) {
	return func(ctx context.Context, p *pass) (_ figures, err error) {
		c, err := open(ctx, p.dir)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.stop()) }()
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(p.waiting))
		waits := newLatencies()
		for began := time.Now(); time.Since(began) < 3*p.pace.window; { // for some hundred of them
			time.Sleep(idlePause)
			sent := time.Now()
			if err := c.sign(ctx); err != nil {
				return nil, err
			}
			waits.record(time.Since(sent))
		}
		return figures{p50: waits.quantile(50), p95: waits.quantile(95), p99: waits.quantile(99)}, nil
	}
}

// setenv sets environment variables until restore is called. The SDKs have no
// other way to be told of credentials, and must find none of the machine's.
func setenv(to map[string]string) (restore func()) {
	was := make(map[string]string)
	var missing []string
	for name, value := range to {
		old, ok := os.LookupEnv(name)
		if was[name] = old; !ok {
			missing = append(missing, name)
		}
		_ = os.Setenv(name, value) // the names are good
	}
	return func() {
		for name, value := range was {
			_ = os.Setenv(name, value)
		}
		for _, name := range missing {
			_ = os.Unsetenv(name)
		}
	}
}
