package cli

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/batch"
)

// completionTimeout bounds how long a shell waits for the broker after Tab.
const completionTimeout = time.Second

// completeFlags lets a shell complete the names that the broker knows, on every
// command that takes them.
func (a *app) completeFlags(root *cobra.Command) {
	register(root, "pool", a.complete(a.completePools))
	register(root, "key", a.complete(a.completeNames))
	for _, cmd := range withFlag(root, "kid") {
		register(cmd, "kid", a.complete(a.completeKIDs))
	}
	for _, cmd := range withFlag(root, "to") {
		register(cmd, "to", a.complete(a.completeKIDs))
	}
	for _, cmd := range withFlag(root, "arrivals") {
		register(cmd, "arrivals", cobra.FixedCompletions(arrivalKinds, cobra.ShellCompDirectiveNoFileComp))
	}
	for _, cmd := range withFlag(root, "format") {
		register(cmd, "format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	}
	for _, cmd := range withFlag(root, "what") {
		register(cmd, "what", cobra.FixedCompletions([]string{batch.Contents, batch.Checksum}, cobra.ShellCompDirectiveNoFileComp))
	}
}

// refuseUnknownShells makes "cap completion" treat unknown names as the other
// groups do.
func (a *app) refuseUnknownShells(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		completion.Short = "Make completions for a shell"
		completion.Args, completion.RunE = cobra.ArbitraryArgs, a.needCommand
	}
}

// register ties a completion to a flag; that fails only on a flag that cmd does
// not have.
func register(cmd *cobra.Command, flag string, complete cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err)
	}
}

// withFlag returns the commands below cmd that have a flag of this name.
func withFlag(cmd *cobra.Command, flag string) []*cobra.Command {
	var found []*cobra.Command
	for _, child := range cmd.Commands() {
		if child.LocalNonPersistentFlags().Lookup(flag) != nil {
			found = append(found, child)
		}
		found = append(found, withFlag(child, flag)...)
	}
	return found
}

// complete returns a completion that gives up silently after a second: a shell
// has no place for an error.
func (a *app) complete(list func(ctx context.Context) ([]cobra.Completion, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		choices, err := list(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return choices, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

// completeKIDs lists the kids that --pool and --key leave, each with its key.
func (a *app) completeKIDs(ctx context.Context) ([]cobra.Completion, error) {
	keys, err := a.remainingKeys(ctx)
	choices := make([]cobra.Completion, len(keys))
	for i, key := range keys {
		choices[i] = cobra.CompletionWithDesc(key.KID, key.Pool+"/"+key.Name+", "+string(key.Alg)+", "+string(key.State))
	}
	return choices, err
}

// completeNames lists the names of the keys that --pool leaves.
func (a *app) completeNames(ctx context.Context) ([]cobra.Completion, error) {
	a.flags.key = "" // what is being typed
	keys, err := a.remainingKeys(ctx)
	var names []cobra.Completion
	for _, key := range keys {
		names = append(names, key.Name)
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// remainingKeys returns the keys that --pool and --key leave.
func (a *app) remainingKeys(ctx context.Context) ([]capsign.Key, error) {
	ring, err := a.fetchKeys(ctx)
	if err != nil {
		return nil, err
	}
	return a.flags.narrow(ring.Keys()), nil
}

// completePools lists the pools, each with its state.
func (a *app) completePools(ctx context.Context) ([]cobra.Completion, error) {
	nc, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	pools, err := capsign.FetchPools(ctx, nc)
	if err != nil {
		return nil, err
	}
	var choices []cobra.Completion
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		choices = append(choices, cobra.CompletionWithDesc(name, printable(pools[name].Provider)+", "+string(pools[name].State)))
	}
	return choices, nil
}
