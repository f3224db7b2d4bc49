package main

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
)

// load keeps a site as busy as it can until ctx ends, then waits for what is
// still under way. It counts signatures in done.
type load func(ctx context.Context, nc *nats.Conn, messages [][]byte, done *atomic.Int64) error

// throughput measures how fast a site signs under load.
func throughput(open newSite, sync durability, work load) func(context.Context, *pass) (figures, error) {
	return func(ctx context.Context, p *pass) (_ figures, err error) {
		site, err := open(ctx, p, sync)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, site.stop()) }()
		return saturate(ctx, p, site, work)
	}
}

// saturate runs a load for p's window, warmed up, and returns its rate and
// what it cost.
func saturate(ctx context.Context, p *pass, site *site, work load) (figures, error) {
	loading, cancel := context.WithCancel(ctx)
	defer cancel()
	var done atomic.Int64
	ended := make(chan error, 1)
	go func() { ended <- work(loading, site.nc, p.messages, &done) }()

	if err := pause(ended, p.pace.warm); err != nil {
		return nil, err
	}
	stop, err := p.profile()
	if err != nil {
		return nil, err
	}
	from, err := read(site, &done)
	if err != nil {
		return nil, err
	}
	if err := pause(ended, p.pace.window); err != nil {
		return nil, err
	}
	to, err := read(site, &done)
	stop()
	cancel()
	if err != nil {
		return nil, err
	}
	return to.since(from), <-ended
}

// pause waits for d. A load that ends meanwhile ends it with the load's error.
func pause(ended <-chan error, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case err := <-ended:
		return errors.Join(errors.New("load ended early"), err)
	}
}

// reading is the state of a running measurement.
type reading struct {
	at          time.Time
	signatures  int64
	own, server time.Duration // CPU time; server is 0 unless it is another process
	machine     time.Duration // CPU time of all that runs, stolen time included
}

// read takes a reading.
func read(site *site, done *atomic.Int64) (r reading, err error) {
	r.at, r.signatures = time.Now(), done.Load()
	if r.machine, err = machineCPUTime(); err != nil {
		return r, err
	}
	if r.own, err = cpuTime(0); err != nil || site.pid == 0 {
		return r, err
	}
	r.server, err = cpuTime(site.pid)
	return r, err
}

// since returns the figures of the time since an earlier reading.
func (r reading) since(from reading) figures {
	n := float64(r.signatures - from.signatures)
	perSignature := func(d time.Duration) float64 { return d.Seconds() * 1000 / n }
	ours, elapsed := r.own-from.own+r.server-from.server, r.at.Sub(from.at)
	if n == 0 {
		return figures{perSecond: 0} // stood still: there is nothing to divide by
	}
	f := figures{
		perSecond: n / elapsed.Seconds(),
		cpu:       perSignature(ours),
		others:    100 * max(0, r.machine-from.machine-ours).Seconds() / elapsed.Seconds() / float64(runtime.NumCPU()),
	}
	if r.server > 0 {
		f[serverCPU] = perSignature(r.server - from.server)
	}
	return f
}

// signAll signs with Client.SignAll.
func signAll(cfg capsign.ClientConfig) load {
	return func(ctx context.Context, nc *nats.Conn, messages [][]byte, done *atomic.Int64) error {
		client, err := capsign.NewClient(ctx, nc, cfg)
		if err != nil {
			return err
		}
		defer client.Close()
		for _, err := range client.SignAll(context.WithoutCancel(ctx), endless(ctx, messages)) {
			if err != nil {
				return err
			}
			done.Add(1)
		}
		return nil
	}
}

// endless yields messages over and over until ctx ends.
func endless(ctx context.Context, messages [][]byte) iter.Seq[capsign.Item] {
	return func(yield func(capsign.Item) bool) {
		for i := 0; ctx.Err() == nil; i++ {
			if !yield(capsign.Item{Message: messages[i%len(messages)]}) {
				return
			}
		}
	}
}

// callSign signs with Client.Sign in so many goroutines.
func callSign(cfg capsign.ClientConfig, callers int) load {
	return func(ctx context.Context, nc *nats.Conn, messages [][]byte, done *atomic.Int64) error {
		client, err := capsign.NewClient(ctx, nc, cfg)
		if err != nil {
			return err
		}
		defer client.Close()
		return callAll(ctx, callers, messages, done, func(msg []byte) error {
			_, err := client.Sign(context.WithoutCancel(ctx), msg)
			return err
		})
	}
}

// callAll calls sign in so many goroutines until ctx ends or a call fails.
func callAll(ctx context.Context, callers int, messages [][]byte, done *atomic.Int64, sign func(msg []byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var calling sync.WaitGroup
	var failed atomic.Pointer[error]
	for c := range callers {
		calling.Go(func() {
			for i := c; ctx.Err() == nil; i++ {
				if err := sign(messages[i%len(messages)]); err != nil {
					failed.Store(&err)
					cancel(err)
					return
				}
				done.Add(1)
			}
		})
	}
	calling.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// countSignatures runs a load for p's window and returns all that it signed.
func countSignatures(ctx context.Context, p *pass, site *site, work load) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, p.pace.window)
	defer cancel()
	var done atomic.Int64
	err := work(ctx, site.nc, p.messages, &done)
	return done.Load(), err
}
