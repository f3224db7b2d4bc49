package main

import (
	"context"
	"errors"
	"time"

	"github.com/capsign/cap/capsign"
)

// idlePause lies between two one-offs on an idle system, so that everything
// has gone to sleep before the next.
const idlePause = time.Millisecond

// idle measures one-offs on a system that does nothing else. The client checks
// each signature, as it does by default.
func idle(sync durability) func(context.Context, *pass) (figures, error) {
	return func(ctx context.Context, p *pass) (_ figures, err error) {
		site, err := embeddedSite(ctx, p, sync)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, site.stop()) }()
		client, err := capsign.NewClient(ctx, site.nc, capsign.ClientConfig{Timeout: patience})
		if err != nil {
			return nil, err
		}
		defer client.Close()
		if _, err := oneOffs(ctx, p, client, p.pace.warm); err != nil {
			return nil, err
		}
		stop, err := p.profile()
		if err != nil {
			return nil, err
		}
		defer stop()
		return oneOffs(ctx, p, client, p.pace.window)
	}
}

// oneOffs signs one message after the other for d.
func oneOffs(ctx context.Context, p *pass, client *capsign.Client, d time.Duration) (figures, error) {
	waits := newLatencies()
	used, err := cpuTime(0)
	if err != nil {
		return nil, err
	}
	n := 0
	for began := time.Now(); time.Since(began) < d; n++ {
		time.Sleep(idlePause)
		sent := time.Now()
		if _, err := client.Sign(ctx, p.messages[n%len(p.messages)]); err != nil {
			return nil, err
		}
		waits.record(time.Since(sent))
	}
	now, err := cpuTime(0)
	return figures{
		p50: waits.quantile(50), p99: waits.quantile(99),
		cpu: (now - used).Seconds() * 1000 / float64(n),
	}, err
}
