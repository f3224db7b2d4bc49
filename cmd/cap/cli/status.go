package cli

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
)

// statusCommand returns "cap pool status".
func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status [POOL]",
		Short: "Show whether pools sign, and why not",
		Long: "status shows of each pool, or of one, what its workers last said of it, who may\n" +
			"start it again where it is paused, and which workers run now. It exits with 0\n" +
			"where a pool is paused, too.",
		Example:           "  cap pool status default",
		Args:              poolArg,
		ValidArgsFunction: a.completePoolArg,
		RunE:              a.onPool(false, a.status),
	}
}

// statuses is what "cap pool status --json" prints.
type statuses struct {
	Pools []poolStatus `json:"pools"`
}

// poolStatus is a pool with the workers that run.
type poolStatus struct {
	poolSummary
	// Message is Code's sentence.
	Message string `json:"message,omitzero"`
	// Workers are those that answered; nil means that they could not be asked.
	Workers []workerSummary `json:"workers,omitzero"`
}

// workerSummary is a running worker.
type workerSummary struct {
	ID    string            `json:"id"`
	State capsign.PoolState `json:"state"`
	Code  capsign.Code      `json:"code,omitzero"`
	Since time.Time         `json:"since"`
}

// status shows pools.
func (a *app) status(ctx context.Context) error {
	found, err := a.poolStatuses(ctx)
	if err != nil {
		return err
	}
	if a.flags.json {
		return a.printJSON(statuses{found})
	}
	return a.print([]byte(statusText(found, time.Now())))
}

// askLogins asks the workers of tokens' pools whether they are logged in. Where
// they cannot be asked, it is not known.
func (a *app) askLogins(ctx context.Context, nc *nats.Conn, pools []poolSummary) {
	var asking sync.WaitGroup
	for i := range pools {
		if pools[i].Provider != capsign.ProviderPKCS11 {
			continue
		}
		asking.Go(func() {
			workers, err := summarizeWorkers(ctx, nc, pools[i].Pool)
			if err == nil && !a.deny.any.Load() {
				pools[i].noteLogin(workers)
			}
		})
	}
	asking.Wait()
}

// noteLogin notes whether one of these workers is logged in to the token of a
// pool that is ready: one that takes requests is.
func (p *poolSummary) noteLogin(workers []workerSummary) {
	if p.Provider == capsign.ProviderPKCS11 && p.State == capsign.PoolReady && !p.Fallback {
		p.LoggedIn = new(slices.ContainsFunc(workers, func(w workerSummary) bool { return w.State == capsign.PoolReady }))
	}
}

// poolStatuses asks the broker for the pools that --pool leaves, and whoever
// runs for the workers.
func (a *app) poolStatuses(ctx context.Context) ([]poolStatus, error) {
	nc, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	pools, err := capsign.FetchPools(ctx, nc)
	if err != nil {
		return nil, err
	}
	if a.flags.pool != "" {
		maps.DeleteFunc(pools, func(name string, _ capsign.Pool) bool { return name != a.flags.pool })
	}
	if len(pools) == 0 {
		return nil, capsign.PoolUnknown
	}
	ring, err := capsign.FetchKeySet(ctx, nc)
	if err != nil {
		return nil, err
	}
	found := make([]poolStatus, len(pools))
	for i, name := range slices.Sorted(maps.Keys(pools)) {
		found[i] = newStatus(a.flags.summarizePool(pools[name], ring.Keys()))
	}
	return found, a.callWorkers(ctx, nc, found)
}

// newStatus returns a pool's status without its workers.
func newStatus(pool poolSummary) poolStatus {
	s := poolStatus{poolSummary: pool}
	if pool.Code != "" {
		s.Message = pool.Code.Sentence()
	}
	return s
}

// callWorkers asks the workers of all pools at once, as each pool is given the
// same time to answer.
func (a *app) callWorkers(ctx context.Context, nc *nats.Conn, pools []poolStatus) error {
	errs := make([]error, len(pools))
	var asking sync.WaitGroup
	for i := range pools {
		asking.Go(func() {
			pools[i].Workers, errs[i] = summarizeWorkers(ctx, nc, pools[i].Pool)
		})
	}
	asking.Wait()
	for i, err := range errs {
		if err != nil {
			return err
		}
		if a.deny.any.Load() {
			pools[i].Workers = nil
			continue
		}
		pools[i].noteLogin(pools[i].Workers)
		if len(pools[i].Workers) == 0 && pools[i].ResumedBy == byItself {
			pools[i].ResumedBy = byWorker
		}
	}
	return nil
}

// summarizeWorkers returns what the running workers of a pool say of
// themselves, as far as it makes sense.
func summarizeWorkers(ctx context.Context, nc *nats.Conn, pool string) ([]workerSummary, error) {
	workers, err := capsign.FetchWorkers(ctx, nc, pool)
	if err == nil && ctx.Err() != nil {
		err = capsign.BrokerUnreachable // some may not have had their time
	}
	if err != nil {
		return nil, err
	}
	summaries := []workerSummary{}
	for _, w := range workers {
		ready, paused := w.State == capsign.PoolReady && w.Code == "", w.State == capsign.PoolPaused && w.Code.Known()
		if ready || paused {
			summaries = append(summaries, workerSummary{cut(printable(w.ID), maxWorkerID), w.State, w.Code, w.Since.UTC()})
		}
	}
	slices.SortFunc(summaries, func(x, y workerSummary) int { return x.Since.Compare(y.Since) })
	return summaries, nil
}

// maxWorkerID is the longest that a worker's id is shown.
const maxWorkerID = 64
