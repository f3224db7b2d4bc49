package main

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
)

// beside measures one-offs while a bulk backlog is queued and running, and what
// they cost the backlog. They come rate a second, which should be far from what
// the disk syncs.
func beside(sync durability, rate float64) func(context.Context, *pass) (figures, error) {
	return func(ctx context.Context, p *pass) (_ figures, err error) {
		site, err := embeddedSite(ctx, p, sync)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, site.stop()) }()
		bulk, err := queueUp(ctx, site.nc, p.messages, p.pace.backlog)
		if err != nil {
			return nil, err
		}
		client, err := capsign.NewClient(ctx, site.nc, capsign.ClientConfig{SkipVerify: true, Timeout: patience})
		if err != nil {
			return nil, err
		}
		defer client.Close()
		return besideBulk(ctx, p, site, bulk, client, rate)
	}
}

// queueUp fills a paused pool with items, in the names of the kids in turn, then
// has it begin.
func queueUp(ctx context.Context, nc *nats.Conn, messages [][]byte, items int, kids ...string) (*requester, error) {
	bulk, err := newRequester(nc, nil)
	if err != nil {
		return nil, err
	}
	return bulk, bulk.queueUp(ctx, nc, messages, items, kids...)
}

// queueUp does the work of the function of that name.
func (r *requester) queueUp(ctx context.Context, nc *nats.Conn, messages [][]byte, items int, kids ...string) error {
	if _, err := capsign.PausePool(ctx, nc, "default"); err != nil {
		return err
	}
	if err := r.fill(ctx, messages, items, kids...); err != nil {
		return err
	}
	if _, err := capsign.ResumePool(ctx, nc, "default"); err != nil {
		return err
	}
	return r.await(ctx, 1)
}

// besideBulk measures the backlog alone, with one-offs beside it, and alone
// again.
func besideBulk(ctx context.Context, p *pass, site *site, bulk *requester, client *capsign.Client, rate float64) (figures, error) {
	before, err := bulkRate(ctx, p, site, bulk)
	if err != nil {
		return nil, err
	}
	stop, err := p.profile()
	if err != nil {
		return nil, err
	}
	from, err := read(site, &bulk.signed)
	if err != nil {
		return nil, err
	}
	oneOffs, err := arrive(ctx, p, client, rate)
	stop()
	if err != nil {
		return nil, err
	}
	to, err := read(site, &bulk.signed)
	if err != nil {
		return nil, err
	}
	after, err := bulkRate(ctx, p, site, bulk)
	if err != nil {
		return nil, err
	}
	f := to.since(from)
	f[p50], f[p99], f[late] = oneOffs[p50], oneOffs[p99], oneOffs[late]
	if alone := (before + after) / 2; alone > 0 {
		f[bulkShare] = f[perSecond] / alone
	}
	f[queued] = float64(int64(p.pace.backlog) - bulk.signed.Load())
	return f, bulk.err()
}

// bulkRate measures how many items of the backlog are signed per second, for a
// window.
func bulkRate(ctx context.Context, p *pass, site *site, bulk *requester) (float64, error) {
	from, err := read(site, &bulk.signed)
	if err != nil {
		return 0, err
	}
	if err := pauseFor(ctx, p.pace.window); err != nil {
		return 0, err
	}
	to, err := read(site, &bulk.signed)
	return to.since(from)[perSecond], err
}
