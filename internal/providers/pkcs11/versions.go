//go:build cgo && !nopkcs11

package pkcs11

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/capsign/cap/capsign"
)

// versions is what a provider holds at one time; it never changes.
type versions struct {
	byKID   map[string]*key
	kids    []string // oldest first
	current string   // empty: there is none yet
}

// with returns v and the added keys. The current one stays, if there is one.
func (v *versions) with(added []*key) *versions {
	more := &versions{byKID: maps.Clone(v.byKID), current: v.current}
	if more.byKID == nil {
		more.byKID = make(map[string]*key)
	}
	for _, k := range added {
		more.byKID[k.KID] = k
	}
	more.kids = slices.SortedFunc(maps.Keys(more.byKID), func(a, b string) int {
		return cmp.Compare(more.byKID[a].number, more.byKID[b].number)
	})
	if more.current == "" && len(more.kids) > 0 {
		more.current = more.kids[len(more.kids)-1]
	}
	return more
}

// adopt takes up all versions that are on the token and not held yet, once each
// of them has signed. It returns how many there are on the token.
func (p *Provider) adopt(ctx context.Context) (int, error) {
	if err := p.changing.take(ctx); err != nil {
		return 0, err
	}
	defer p.changing.give()
	found, added, err := p.register(ctx)
	if err != nil {
		return 0, err
	}
	for _, k := range added {
		if err := p.token.prove(ctx, k); err != nil {
			p.token.drop(context.WithoutCancel(ctx), added)
			return 0, err
		}
	}
	p.held.Store(p.held.Load().with(added))
	return found, nil
}

// register searches the token and has it keep track of the versions that are
// not held yet.
func (p *Provider) register(ctx context.Context) (found int, added []*key, err error) {
	if err := p.token.m.admin.take(ctx); err != nil {
		return 0, nil, err
	}
	defer p.token.m.admin.give()
	all, err := p.token.search(ctx, p.cfg)
	if err != nil {
		return 0, nil, err
	}
	held := p.held.Load()
	seen := make(map[string]bool)
	for _, k := range all {
		if seen[k.KID] {
			return 0, nil, fmt.Errorf("one key in two versions: %w", capsign.KeyAmbiguous)
		}
		seen[k.KID] = true
		if held.byKID[k.KID] == nil {
			added = append(added, k)
		}
	}
	for _, k := range added {
		p.token.keys[k] = struct{}{}
	}
	return len(all), added, nil
}

// drop takes keys off the token.
func (t *token) drop(ctx context.Context, keys []*key) {
	if t.m.admin.take(ctx) != nil {
		return // they are looked for with the others, and used by nobody
	}
	defer t.m.admin.give()
	for _, k := range keys {
		delete(t.keys, k)
	}
}
