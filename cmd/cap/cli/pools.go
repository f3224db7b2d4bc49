package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
)

// poolSummary is a pool as info and status show it.
type poolSummary struct {
	Pool     string            `json:"pool"`
	Provider string            `json:"provider"`
	State    capsign.PoolState `json:"state"`
	Code     capsign.Code      `json:"code,omitzero"`
	// ResumedBy says who may start a paused pool again.
	ResumedBy resumer   `json:"resumed_by,omitzero"`
	Since     time.Time `json:"since"`
	// LoggedIn says of a token's pool that is ready whether one of its workers
	// is; nil means that it is not known.
	LoggedIn *bool `json:"logged_in,omitzero"`
	// Fallback says that a software key signs while the pool's provider, which
	// is another, is away.
	Fallback   bool   `json:"fallback,omitzero"`
	CurrentKID string `json:"current_kid"`
	// Current maps each key's name to the kid that signs for it now.
	Current map[string]string `json:"current"`
}

// resumer is who may start a paused pool again.
type resumer string

// Who may start a pool again that is paused.
const (
	byOperator resumer = "operator" // cap pool resume
	byItself   resumer = "itself"   // once the provider signs again
	byWorker   resumer = "worker"   // one that starts
)

// resumerOf returns who may start a pool again that a code has paused.
func resumerOf(code capsign.Code) resumer {
	switch {
	case code == "":
		return ""
	case code.Fate() == capsign.FateLatched:
		return byOperator
	case code.Fate() == capsign.FateHeld:
		return byItself
	}
	return byWorker
}

// summarizePool returns a pool with the kid that signs: for the key asked for,
// or for its only one. keys are all that the broker knows.
func (f *flags) summarizePool(pool capsign.Pool, keys []capsign.Key) poolSummary {
	current := pool.Current[f.key]
	if f.key == "" && len(pool.Current) == 1 {
		current = slices.Collect(maps.Values(pool.Current))[0]
	}
	return poolSummary{
		Pool: pool.Name, Provider: printable(pool.Provider), State: pool.State, Code: pool.Code,
		ResumedBy: resumerOf(pool.Code), Since: pool.Since.UTC(), Fallback: isFallback(pool, keys),
		CurrentKID: current, Current: pool.Current,
	}
}

// isFallback reports whether a key that signs for a pool now is a software key,
// while the pool's provider is another.
func isFallback(pool capsign.Pool, keys []capsign.Key) bool {
	return pool.Provider != capsign.ProviderSoftware && slices.ContainsFunc(keys, func(k capsign.Key) bool {
		return k.Pool == pool.Name && k.Provider == capsign.ProviderSoftware && pool.Current[k.Name] == k.KID
	})
}

// choosePool returns the pool that --pool names, or the only one. --key must be
// a key of it.
func (f *flags) choosePool(pools map[string]capsign.Pool) (capsign.Pool, error) {
	names := slices.Sorted(maps.Keys(pools))
	name := f.pool
	switch {
	case name == "" && len(names) > 1:
		return capsign.Pool{}, &capsign.AmbiguousError{What: "pool", Choices: names}
	case name == "" && len(names) == 1:
		name = names[0]
	}
	pool, known := pools[name]
	switch {
	case !known:
		return capsign.Pool{}, capsign.PoolUnknown
	case f.key != "" && pool.Current[f.key] == "":
		return capsign.Pool{}, capsign.KeyUnknown
	}
	return pool, nil
}

// atPool calls do with a connection and with the pool that --pool and --key
// leave, as the broker knows it.
func (a *app) atPool(ctx context.Context, do func(nc *nats.Conn, pool capsign.Pool) error) error {
	nc, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	pools, err := capsign.FetchPools(ctx, nc)
	if err != nil {
		return err
	}
	pool, err := a.flags.choosePool(pools)
	if err != nil {
		return err
	}
	return do(nc, pool)
}

// ask has a worker do something for an operator. It does not wait for an answer
// to what the broker has not let through.
func ask[T any](ctx context.Context, a *app, do func(context.Context) (T, error)) (T, error) {
	heeding, cancel := a.deny.heed(ctx)
	defer cancel()
	answer, err := do(heeding)
	if a.deny.any.Load() && errors.Is(err, capsign.ResultTimeout) {
		err = &fault{code: capsign.Denied, sentence: capsign.Denied.Sentence(), hint: hints[capsign.Denied]}
	}
	return answer, err
}

// poolArg takes at most one argument, the pool's name.
func poolArg(_ *cobra.Command, args []string) error {
	switch {
	case len(args) > 1:
		return misuse("Unexpected argument %q.", args[1])
	case len(args) == 1 && args[0] == "":
		return misuse("Set to nothing: POOL.")
	}
	return nil
}

// onPool returns a RunE that takes the pool's name as its argument, which is
// then what --pool says.
func (a *app) onPool(required bool, run func(ctx context.Context) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 1 && a.flags.pool != "" && a.flags.pool != args[0]:
			return misuse("POOL and --pool name two pools.")
		case len(args) == 1:
			a.flags.pool = args[0]
		case required && a.flags.pool == "":
			return misuse("Missing: POOL.")
		}
		return a.bounded(run)(cmd, nil)
	}
}

// completePoolArg completes the pool's name.
func (a *app) completePoolArg(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.complete(a.completePools)(cmd, args, typed)
}

// advise prints a hint beside a result that stdout already has. With --json,
// the result has it.
func (a *app) advise(hint string) {
	if hint != "" && !a.flags.json {
		fmt.Fprintf(a.stderr, "hint: %s\n", hint)
	}
}
