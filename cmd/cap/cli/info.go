package cli

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
)

// infoCommand returns "cap keys info".
func (a *app) infoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "info",
		Short: "Show pools and their keys",
		Long: "info shows what the workers last said of their pools and keys; none needs to\n" +
			"run. With --json, provider, pool and current_kid are those of the pool asked\n" +
			"for, and empty where there are several and --pool does not say which. A key's\n" +
			"class says within what time 95 of 100 signatures are to be made.",
		Example: "  cap keys info --pool default",
		Args:    noArgs,
		RunE:    a.bounded(a.info),
	}
}

// overview is what "cap keys info --json" prints.
type overview struct {
	Provider   string        `json:"provider"`
	Pool       string        `json:"pool"`
	CurrentKID string        `json:"current_kid"`
	Fallback   bool          `json:"fallback,omitzero"`
	Keys       []keySummary  `json:"keys"`
	Pools      []poolSummary `json:"pools"`
}

// keySummary is a key version in an overview.
type keySummary struct {
	KID        string        `json:"kid"`
	Alg        capsign.Alg   `json:"alg"`
	KeyName    string        `json:"key_name"`
	State      capsign.State `json:"state"`
	SPKISHA256 string        `json:"spki_sha256"`
	Thumbprint string        `json:"jwk_thumbprint"`
	Pool       string        `json:"pool"`
	Class      capsign.Class `json:"class"`
	// Backend is a token's label, or gcp, aws or azure; software has none.
	Backend string `json:"backend,omitzero"`
	// Version is the backend's own name of the key version.
	Version string `json:"version"`
}

// info shows pools and keys.
func (a *app) info(ctx context.Context) error {
	o, err := a.overview(ctx)
	if err != nil {
		return err
	}
	if a.flags.json {
		return a.printJSON(o)
	}
	return a.print([]byte(o.text()))
}

// overview asks the broker for its pools and for the keys that --pool and
// --key leave.
func (a *app) overview(ctx context.Context) (overview, error) {
	nc, err := a.connect(ctx)
	if err != nil {
		return overview{}, err
	}
	defer nc.Close()
	pools, err := capsign.FetchPools(ctx, nc)
	if err != nil {
		return overview{}, err
	}
	ring, err := capsign.FetchKeySet(ctx, nc)
	if err != nil {
		return overview{}, err
	}
	o, err := a.flags.overviewOf(pools, ring.Keys())
	if err != nil {
		return overview{}, err
	}
	a.askLogins(ctx, nc, o.Pools)
	return o, nil
}

// overviewOf puts together what was asked for.
func (f *flags) overviewOf(pools map[string]capsign.Pool, keys []capsign.Key) (overview, error) {
	o := overview{Keys: []keySummary{}, Pools: []poolSummary{}}
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		pool := f.summarizePool(pools[name], keys)
		o.Pools = append(o.Pools, pool)
		if f.pool == name || f.pool == "" && len(pools) == 1 {
			o.Provider, o.Pool, o.CurrentKID, o.Fallback = pool.Provider, pool.Pool, pool.CurrentKID, pool.Fallback
		}
	}
	for _, key := range f.narrow(keys) {
		o.Keys = append(o.Keys, keySummary{
			KID: key.KID, Alg: key.Alg, KeyName: key.Name, State: key.State,
			SPKISHA256: key.SPKISHA256(), Thumbprint: key.Thumbprint(), Pool: key.Pool,
			Class: key.Class, Backend: printable(key.Backend), Version: printable(key.Version),
		})
	}
	switch {
	case len(pools) == 0, f.pool != "" && o.Pool == "":
		return overview{}, capsign.PoolUnknown
	case f.key != "" && len(o.Keys) == 0:
		return overview{}, capsign.KeyUnknown
	}
	return o, nil
}

// narrow returns those of keys that --pool and --key leave, sorted: active ones
// before the others of their name.
func (f *flags) narrow(keys []capsign.Key) []capsign.Key {
	var left []capsign.Key
	for _, key := range keys {
		if f.leaves(key) {
			left = append(left, key)
		}
	}
	slices.SortFunc(left, func(x, y capsign.Key) int {
		return cmp.Or(cmp.Compare(x.Pool, y.Pool), cmp.Compare(x.Name, y.Name),
			cmp.Compare(slices.Index(stateOrder, x.State), slices.Index(stateOrder, y.State)),
			cmp.Compare(x.KID, y.KID))
	})
	return left
}

// leaves reports whether --pool and --key leave the key.
func (f *flags) leaves(key capsign.Key) bool {
	return (f.pool == "" || f.pool == key.Pool) && (f.key == "" || f.key == key.Name)
}

// stateOrder is the order in which a key's versions are shown.
var stateOrder = []capsign.State{capsign.Active, capsign.Accepted, capsign.Retired}
