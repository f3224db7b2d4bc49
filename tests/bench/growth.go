package main

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/capsign/cap/internal/providers/software"
)

// fewItems is the small end of what grows.
const fewItems = 1000

// backlogs measures what a signature costs server and worker, in a process of
// their own, when a thousand items are queued at a time and when a million are,
// and the most memory that they took.
func backlogs(ctx context.Context, p *pass) (_ figures, err error) {
	site, err := ownProcessSite(ctx, p, lazy)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, site.stop()) }()
	few, err := inParts(ctx, p, site)
	if err != nil {
		return nil, err
	}
	many, err := drained(ctx, p, site, p.pace.backlog)
	if err != nil {
		return nil, err
	}
	peak, err := peakMemory(site.pid)
	return figures{
		cpuFew: few[serverCPU], cpuMany: many[serverCPU], cpuGrowth: many[serverCPU] / few[serverCPU], memory: peak,
	}, err
}

// inParts has a thousand items signed, and again, for a window. The first, which
// find everything cold, do not count.
func inParts(ctx context.Context, p *pass, site *site) (figures, error) {
	sender, err := newRequester(site.nc, nil)
	if err != nil {
		return nil, err
	}
	var from reading
	var began time.Time
	for n := 1; n <= 2 || time.Since(began) < p.pace.window; n++ {
		if err := sender.fill(ctx, p.messages, fewItems); err != nil {
			return nil, err
		}
		if err := sender.await(ctx, int64(n*fewItems)); err != nil {
			return nil, err
		}
		if n > 1 {
			continue
		}
		began = time.Now()
		if from, err = read(site, &sender.signed); err != nil {
			return nil, err
		}
	}
	to, err := read(site, &sender.signed)
	return to.since(from), err
}

// drained measures from before items are queued, in the names of the kids in
// turn, until all are signed.
func drained(ctx context.Context, p *pass, site *site, items int, kids ...string) (figures, error) {
	var none atomic.Int64
	from, err := read(site, &none)
	if err != nil {
		return nil, err
	}
	sender, err := queueUp(ctx, site.nc, p.messages, items, kids...)
	if err != nil {
		return nil, err
	}
	if err := sender.await(ctx, int64(items)); err != nil {
		return nil, err
	}
	to, err := read(site, &sender.signed)
	return to.since(from), err
}

// apart measures the memory of a worker whose server is another process, over a
// backlog.
func apart(ctx context.Context, p *pass) (_ figures, err error) {
	server, err := startServer(filepath.Join(p.dir, "nats"), lazy)
	if err != nil {
		return nil, err
	}
	keys := filepath.Join(p.dir, "keys")
	if err := makeKeys(ctx, keys, 1); err != nil {
		server.Stop()
		return nil, err
	}
	worker, err := spawnWorker(ctx, p, server.URL(), keys, filepath.Join(p.dir, "audit"), lazy, workers{})
	if err != nil {
		server.Stop()
		return nil, err
	}
	site, err := connect(server.URL(), worker.cmd.Process.Pid, func() error {
		defer server.Stop()
		return worker.stop()
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, site.stop()) }()
	f, err := drained(ctx, p, site, p.pace.backlog)
	if err != nil {
		return nil, err
	}
	peak, err := peakMemory(site.pid)
	return figures{cpu: f[cpu], memory: peak}, err
}

// grown measures what a signature costs all together at two sites that differ
// in their workers or keys.
func grown(few, many func(*pass) workers) func(context.Context, *pass) (figures, error) {
	return func(ctx context.Context, p *pass) (figures, error) {
		var costs [2]float64
		for i, like := range []func(*pass) workers{few, many} {
			f, err := fleetCost(ctx, p.in(string("fm"[i])), like(p))
			if err != nil {
				return nil, err
			}
			costs[i] = f[cpu]
		}
		return figures{cpuFew: costs[0], cpuMany: costs[1], cpuGrowth: costs[1] / costs[0]}, nil
	}
}

// fleetCost has a tenth of the backlog signed by workers, in the names of all
// their key versions in turn. What came before, in their start, does not count.
func fleetCost(ctx context.Context, p *pass, like workers) (_ figures, err error) {
	site, err := fleetSite(like)(ctx, p, lazy)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, site.stop()) }()
	provider, err := software.Open(ctx, keyConfig(filepath.Join(p.dir, "keys")))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, provider.Close()) }()
	kids, err := provider.ListKIDs(ctx)
	if err != nil {
		return nil, err
	}
	return drained(ctx, p, site, p.pace.backlog/10, kids...)
}

// slowFleet measures how much more workers sign than one, where a signature
// takes 40 ms whatever the processor does, one per message.
func slowFleet(ctx context.Context, p *pass) (figures, error) {
	var rates [2]float64
	for i, n := range []int{1, p.pace.workers} {
		rate, err := slowRate(ctx, p.in(string("fm"[i])), n)
		if err != nil {
			return nil, err
		}
		rates[i] = rate
	}
	f := figures{allWorkers: rates[1], oneWorker: rates[0]}
	if rates[0] > 0 {
		f[spread] = rates[1] / rates[0] / float64(p.pace.workers)
	}
	return f, nil
}

// slowRate measures the rate of n workers.
func slowRate(ctx context.Context, p *pass, n int) (_ float64, err error) {
	site, err := fleetSite(workers{n: n, delay: serviceTime})(ctx, p, lazy)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, site.stop()) }()
	sender, err := newRequester(site.nc, nil)
	if err != nil {
		return 0, err
	}
	sender.per = 1
	inWindow := float64(n*slowParallelism) * (p.pace.window + time.Second).Seconds() / serviceTime.Seconds()
	if err := sender.queueUp(ctx, site.nc, p.messages, int(inWindow)); err != nil {
		return 0, err
	}
	if err := pauseFor(ctx, p.pace.warm); err != nil {
		return 0, err
	}
	return bulkRate(ctx, p, site, sender)
}
