// Package gcpkms is the provider whose private keys are in Google Cloud KMS.
//
// The versions of one CryptoKey are the versions of the key. They are resolved
// when a [Provider] is opened, and signed with under their full resource names:
// what "latest" means changes only when a worker starts. The public keys are
// fetched once and kept. A version signs with the algorithm that it has in KMS.
//
// Google's own checksums and the echoed names are checked in both directions.
// That a signature belongs to its public key is for the caller to verify.
package gcpkms

import (
	"context"
	"fmt"
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

// Provider signs with the versions of one CryptoKey.
type Provider struct {
	key     keyPath
	client  *client
	current string // kid; set by Open and never changed
	closed  atomic.Bool

	held     atomic.Pointer[holding]
	changing sync.Mutex // held while held is replaced
}

// holding is the versions that a provider signs with. It is never changed, only
// replaced.
type holding struct {
	versions map[string]version // by kid
	kids     []string           // oldest first
}

// Open finds the versions of the CryptoKey and fetches their public keys, which
// also warms the connection up. It wraps [capsign.ConfigInvalid] where cfg cannot
// be used, [capsign.KeyUnknown] where there is no such key or version,
// [capsign.KeyDisabled] where no version of it is enabled,
// [capsign.UnsupportedAlg] where one has an algorithm that cap does not know, and
// otherwise what [Provider.Sign] does. One bad version fails them all: a worker
// that lacks one would sign with the wrong key.
func Open(ctx context.Context, cfg Config) (*Provider, error) {
	return open(ctx, cfg, dialGRPC)
}

// open opens the key over the connections that dial makes.
func open(ctx context.Context, cfg Config, dial dialer) (*Provider, error) {
	key, err := cfg.keyPath("open key")
	if err != nil {
		return nil, err
	}
	client, err := newClient(ctx, "open key", cfg, dial)
	if err != nil {
		return nil, err
	}
	p := &Provider{key: key, client: client}
	if err := p.load(ctx, "open key"); err != nil {
		_ = client.close()
		return nil, err
	}
	kids := p.held.Load().kids
	p.current = kids[len(kids)-1]
	return p, nil
}

// load finds the key's versions and holds those that it did not hold before.
func (p *Provider) load(ctx context.Context, op string) error {
	resources, err := p.key.versions(ctx, op, p.client)
	if err != nil {
		return err
	}
	p.changing.Lock()
	defer p.changing.Unlock()
	for _, resource := range resources {
		if p.held.Load().has(resource) {
			continue
		}
		v, err := fetchVersion(ctx, op, p.client, p.key, resource)
		if err != nil {
			return err
		}
		if err := p.hold(op, v); err != nil {
			return err
		}
	}
	return nil
}

// hold adds a version; changing is held.
func (p *Provider) hold(op string, v version) error {
	held, err := p.held.Load().with(v)
	if err != nil {
		return refuse(op, err)
	}
	p.held.Store(held)
	return nil
}

// has reports whether the version with this resource name is held. A nil holding
// is empty.
func (h *holding) has(resource string) bool {
	if h == nil {
		return false
	}
	for _, v := range h.versions {
		if v.resource == resource {
			return true
		}
	}
	return false
}

// with returns a holding with one version more, in the order of their numbers.
// The same key in two versions is [capsign.KeyAmbiguous]: their kid is one.
func (h *holding) with(v version) (*holding, error) {
	more := &holding{versions: map[string]version{v.key.KID: v}, kids: []string{v.key.KID}}
	if h == nil {
		return more, nil
	}
	if _, twice := h.versions[v.key.KID]; twice {
		return nil, capsign.KeyAmbiguous
	}
	for kid, v := range h.versions {
		more.versions[kid] = v
		more.kids = append(more.kids, kid)
	}
	slices.SortFunc(more.kids, func(a, b string) int { return more.versions[a].number - more.versions[b].number })
	return more, nil
}

// ProviderID returns [capsign.ProviderCloudKMS].
func (p *Provider) ProviderID() string { return capsign.ProviderCloudKMS }

// CurrentKID returns the kid of the version that had the highest number when the
// provider was opened.
func (p *Provider) CurrentKID(context.Context) (string, error) { return p.current, nil }

// ListKIDs returns the kids of all versions, in the order of their numbers.
func (p *Provider) ListKIDs(context.Context) ([]string, error) {
	return slices.Clone(p.held.Load().kids), nil
}

// PublicKey returns the key version that kid names, from memory. It wraps
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

// Sign has KMS sign msg with the version that kid names, or the current one where
// kid is empty. Passing faults are tried again within ctx's deadline, or within
// Config.CallTimeout where it has none, and the last true one is returned:
// [providers.Throttled], [capsign.ProviderTimeout] or
// [capsign.ProviderUnavailable]. The others are [capsign.KIDUnknown] for a version
// that is not held, [capsign.TooLarge] for an Ed25519 message over 64 KiB,
// [capsign.KeyUnknown], [capsign.KeyDisabled], [capsign.ProviderDenied],
// [capsign.CredentialsInvalid] and [capsign.TLSUntrusted] for what KMS or the
// connection refuses, and [capsign.Integrity] for an answer that does not pass
// its own checks.
func (p *Provider) Sign(ctx context.Context, kid string, msg []byte) (capsign.Signature, error) {
	if p.closed.Load() {
		return capsign.Signature{}, refuse("sign after close", capsign.ProviderUnavailable)
	}
	if kid == "" {
		kid = p.current
	}
	v, ok := p.held.Load().versions[kid]
	if !ok {
		return capsign.Signature{}, refuse("sign", capsign.KIDUnknown)
	}
	sig, err := v.sign(ctx, p.client, msg)
	if err != nil {
		return capsign.Signature{}, err
	}
	return capsign.Signature{KID: kid, Alg: v.key.Alg, Bytes: sig}, nil
}

// Close closes the connection. Every Sign must have returned; a later one is
// refused.
func (p *Provider) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	if err := p.client.close(); err != nil {
		return fmt.Errorf("gcpkms: close: %w", capsign.ProviderUnavailable)
	}
	return nil
}
