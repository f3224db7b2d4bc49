package cli

import (
	"context"
	"maps"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// firstKeys returns the keys that the first keyring names: those that sign now
// in the pools that --pool and --key leave, without those that are roots.
func (a *app) firstKeys(ctx context.Context, nc *nats.Conn, f *beginning) ([]capsign.KeyRotation, error) {
	pools, err := capsign.FetchPools(ctx, nc)
	if err != nil {
		return nil, err
	}
	ring, err := capsign.FetchKeySet(ctx, nc)
	if err != nil {
		return nil, err
	}
	for _, text := range f.roots {
		if spec := (rootSpec{text: text}); spec.isPool() {
			name, _ := spec.pool()
			delete(pools, name)
		}
	}
	var found []capsign.KeyRotation
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		if a.flags.pool != "" && a.flags.pool != name {
			continue
		}
		some, err := a.flags.signingKeys(pools[name], ring)
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
	}
	for i := range found {
		found[i].SignAccepted = f.signAccepted
	}
	return found, distinct(found)
}

// signingKeys returns the keys that sign in a pool now and that --key leaves.
func (f *flags) signingKeys(pool capsign.Pool, ring *capsign.KeySet) ([]capsign.KeyRotation, error) {
	if isFallback(pool, ring.Keys()) {
		return nil, &fault{
			code: capsign.ProviderUnavailable, sentence: "Pool " + pool.Name + " signs with a software fallback at the moment.",
			hint: "name its key once its provider is back, or take another pool with --pool.",
		}
	}
	var found []capsign.KeyRotation
	for _, name := range slices.Sorted(maps.Keys(pool.Current)) {
		if f.key != "" && f.key != name {
			continue
		}
		key, err := ring.Key(pool.Current[name])
		if err != nil {
			return nil, err
		}
		key.Pool = pool.Name
		found = append(found, rotation.FirstVersion(key))
	}
	return found, nil
}

// distinct refuses no keys at all, and two that share a name.
func distinct(found []capsign.KeyRotation) error {
	byName := make(map[string][]string)
	for _, r := range found {
		byName[r.Name] = append(byName[r.Name], r.Pool)
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if pools := byName[name]; len(pools) > 1 {
			return &capsign.AmbiguousError{What: "pool", Choices: pools}
		}
	}
	if len(found) == 0 {
		return capsign.KeyUnknown
	}
	return nil
}

// rootsOf returns the public halves of roots.
func rootsOf(signers []rotation.RootSigner, threshold int) capsign.Roots {
	roots := capsign.Roots{Threshold: threshold}
	for _, signer := range signers {
		roots.Keys = append(roots.Keys, signer.Public())
	}
	return roots
}
