// Package azurekms is the provider whose private keys are in an Azure Key Vault
// or Managed HSM.
//
// A key is one named key of the vault with all its versions. [Open] looks them
// up once and holds those that are enabled and valid at that time; from then on
// each is asked to sign under its own id, never as "the newest", so that a
// rotation in the vault changes nothing before the provider is opened again.
// Messages are hashed here: only digests leave.
//
// The worker's identity needs the data actions keys/read and keys/sign/action,
// the role Key Vault Crypto User among others, and keys/create/action where it
// may generate versions.
//
// What the vault says about itself is not believed beyond what it signs for:
// the challenge must be for its own domain before a token is sent, answers must
// be about the version that was asked, links must lead back to it.
package azurekms

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
)

var (
	_ providers.Provider  = (*Provider)(nil)
	_ providers.Generator = (*Provider)(nil)
)

// Provider signs with the versions of one key.
type Provider struct {
	cfg    Config
	client *client
	closed atomic.Bool

	mu   sync.Mutex // held to replace holds
	held atomic.Pointer[holding]
}

// holding is what a provider holds at one time. It does not change.
type holding struct {
	versions map[string]*version // by kid
	kids     []string            // oldest first
	current  string
}

// Open finds the key's versions. It wraps [capsign.KeyUnknown] where the vault
// has no such key or version, [capsign.KeyDisabled] where none of its versions
// may sign now, [capsign.UnsupportedAlg] where one that may is of a type that
// cap has no algorithm for, [capsign.KeyAmbiguous] where two are the same key,
// [capsign.ConfigInvalid], and what talking to a vault can wrap:
// [capsign.CredentialsInvalid], [capsign.ProviderDenied],
// [capsign.TLSUntrusted], [capsign.Throttled], [capsign.ProviderTimeout],
// [capsign.ProviderUnavailable] and, for an answer that cannot be the vault's,
// [capsign.Integrity]. One bad version fails them all: a worker that lacks one
// would sign with the wrong key.
func Open(ctx context.Context, cfg Config) (*Provider, error) {
	c, err := newClient("open key", cfg)
	if err != nil {
		return nil, err
	}
	found, err := find(ctx, c, cfg)
	if err != nil {
		c.close()
		return nil, err
	}
	p := &Provider{cfg: cfg, client: c}
	holds := new(holding)
	for _, v := range found {
		if _, twice := holds.versions[v.key.KID]; twice {
			c.close()
			return nil, refuse("open key", capsign.KeyAmbiguous)
		}
		holds = holds.with(v)
	}
	holds.current = holds.kids[len(holds.kids)-1]
	p.held.Store(holds)
	return p, nil
}

// ProviderID returns [capsign.ProviderCloudKMS].
func (p *Provider) ProviderID() string { return capsign.ProviderCloudKMS }

// CurrentKID returns the kid of the version that was the newest when the
// provider was opened.
func (p *Provider) CurrentKID(context.Context) (string, error) { return p.held.Load().current, nil }

// ListKIDs returns the kids of all versions, oldest first.
func (p *Provider) ListKIDs(context.Context) ([]string, error) {
	return slices.Clone(p.held.Load().kids), nil
}

// PublicKey returns the key version that kid names. It wraps
// [capsign.KIDUnknown] where the provider does not hold it.
func (p *Provider) PublicKey(_ context.Context, kid string) (capsign.Key, error) {
	v, ok := p.held.Load().versions[kid]
	if !ok {
		return capsign.Key{}, refuse("public key", capsign.KIDUnknown)
	}
	key := v.key
	key.SPKI = slices.Clone(key.SPKI)
	return key, nil
}

// Sign signs msg with the version that kid names, or the current one where kid
// is empty. It tries again what may pass, before ctx ends. Beside what Open
// wraps, a kid that the provider does not hold wraps [capsign.KIDUnknown]; a
// version that is disabled, expired or not valid yet [capsign.KeyDisabled]; a
// signature of another length, or in another version's name,
// [capsign.Integrity].
func (p *Provider) Sign(ctx context.Context, kid string, msg []byte) (capsign.Signature, error) {
	if ctx.Err() != nil {
		return capsign.Signature{}, refuse("sign", capsign.ProviderTimeout)
	}
	if p.closed.Load() {
		return capsign.Signature{}, refuse("sign after close", capsign.ProviderUnavailable)
	}
	v, err := p.usable(ctx, kid)
	if err != nil {
		return capsign.Signature{}, err
	}
	raw, err := p.client.sign(ctx, v, v.digest(msg))
	if err != nil {
		return capsign.Signature{}, err
	}
	sig, err := v.canonical(raw)
	if err != nil {
		return capsign.Signature{}, err
	}
	return capsign.Signature{KID: v.key.KID, Alg: v.key.Alg, Bytes: sig}, nil
}

// usable returns the version to sign with. One that had expired, by what is
// remembered, is looked up again, so that an operator who extends it needs no
// restart; that a version was disabled since, the vault says when it is asked
// to sign.
func (p *Provider) usable(ctx context.Context, kid string) (*version, error) {
	holds := p.held.Load()
	if kid == "" {
		kid = holds.current
	}
	v, ok := holds.versions[kid]
	if !ok {
		return nil, refuse("sign", capsign.KIDUnknown)
	}
	if v.usable(p.cfg.clock()()) {
		return v, nil
	}
	again, err := fetch(ctx, p.client, "sign", p.cfg, v.key.Version)
	if err != nil {
		return nil, err
	}
	if again.key.KID != v.key.KID {
		return nil, refuse("sign", capsign.Integrity)
	}
	p.hold(again)
	if !again.usable(p.cfg.clock()()) {
		return nil, refuse("sign", capsign.KeyDisabled)
	}
	return again, nil
}

// Close closes the connections. Every Sign must have returned; a later one is
// refused.
func (p *Provider) Close() error {
	if !p.closed.Swap(true) {
		p.client.close()
	}
	return nil
}

// hold adds a version to those held, or puts it in its earlier self's place.
func (p *Provider) hold(v *version) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held.Store(p.held.Load().with(v))
}

// with returns what is held with v besides, or in its earlier self's place.
func (h *holding) with(v *version) *holding {
	next := &holding{current: h.current, versions: map[string]*version{v.key.KID: v}}
	for kid, other := range h.versions {
		if kid != v.key.KID {
			next.versions[kid] = other
		}
	}
	for _, other := range slices.SortedFunc(maps.Values(next.versions), older) {
		next.kids = append(next.kids, other.key.KID)
	}
	return next
}
