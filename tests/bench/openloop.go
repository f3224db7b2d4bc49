package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/loadtest"
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
// sent, so that a late generator hides nothing. One that fails fails the row.
func arrive(ctx context.Context, p *pass, client *capsign.Client, rate float64) (figures, error) {
	used, err := cpuTime(0)
	if err != nil {
		return nil, err
	}
	report, err := loadtest.Run(ctx, loadtest.Config{
		Signer: client, Wait: loadtest.KernelWait, Step: 2 * p.pace.window,
		Loads: []loadtest.Load{{Lane: capsign.Express, Rates: []loadtest.Rate{{From: rate, To: rate}}}},
		Size:  len(p.messages[0]), InFlight: loadtest.MaxInFlight,
	})
	if err != nil {
		return nil, err
	}
	step := report.Lanes[0].Steps[0]
	if step.Answered < step.Requests {
		return nil, fmt.Errorf("%d of %d one-offs were not answered: %v", step.Requests-step.Answered, step.Requests, step.Troubles())
	}
	now, err := cpuTime(0)
	return figures{
		p50: float64(step.P50), p99: float64(step.P99), late: float64(report.Lanes[0].Generator.P99),
		cpu: (now - used).Seconds() * 1000 / float64(step.Requests),
	}, err
}
