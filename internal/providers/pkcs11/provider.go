//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
)

var (
	_ providers.Provider  = (*Provider)(nil)
	_ providers.Generator = (*Provider)(nil)
)

// Provider signs with the versions of one key on a token. It prints as
// REDACTED.
type Provider struct {
	cfg      Config
	token    *token
	held     atomic.Pointer[versions]
	changing turn // of what is held
	closed   atomic.Bool
}

// Open finds the key and all its versions, after having logged in to its token
// where no other provider of the process has, and has each version sign once.
//
// It wraps [capsign.ModuleInvalid], [capsign.TokenAbsent], [capsign.KeyUnknown]
// and [capsign.KeyAmbiguous] where the configuration fits no module, token or
// key, or more than one; [capsign.PINIncorrect] and [capsign.TokenLocked] where
// the token, or the guard, let nobody in; [capsign.UnsupportedAlg] for a key
// that cap has no algorithm for; [capsign.Integrity] where private and public
// key do not belong together; else what is wrong with the provider.
func Open(ctx context.Context, cfg Config) (*Provider, error) {
	p, err := open(ctx, cfg)
	if err != nil {
		return nil, refuse("open", err)
	}
	if len(p.held.Load().kids) == 0 {
		_ = p.close(ctx) // nothing of it was used
		return nil, refuse("open", capsign.KeyUnknown)
	}
	return p, nil
}

// open is Open for a key that may have no version yet.
func open(ctx context.Context, cfg Config) (*Provider, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	t, err := attach(ctx, cfg)
	if err != nil {
		return nil, err
	}
	p := &Provider{cfg: cfg, token: t, changing: newTurn()}
	clear(p.cfg.PIN)
	p.cfg.PIN = nil
	p.held.Store(&versions{})
	if _, err := p.adopt(ctx); err != nil {
		_ = p.close(ctx) // the error that counts is there already
		return nil, err
	}
	return p, nil
}

// ProviderID returns [capsign.ProviderPKCS11].
func (p *Provider) ProviderID() string { return capsign.ProviderPKCS11 }

// CurrentKID returns the kid of the version that was the newest when the
// provider was opened.
func (p *Provider) CurrentKID(context.Context) (string, error) {
	return p.held.Load().current, nil
}

// ListKIDs returns the kids of all versions, oldest first.
func (p *Provider) ListKIDs(context.Context) ([]string, error) {
	return slices.Clone(p.held.Load().kids), nil
}

// PublicKey returns the key version that kid names. It wraps
// [capsign.KIDUnknown] where the provider does not hold it.
func (p *Provider) PublicKey(_ context.Context, kid string) (capsign.Key, error) {
	k, ok := p.held.Load().byKID[kid]
	if !ok {
		return capsign.Key{}, refuse("public key", capsign.KIDUnknown)
	}
	public := k.Key
	public.SPKI = slices.Clone(public.SPKI)
	return public, nil
}

// Sign signs msg with the version that kid names, or the current one where kid
// is empty. It waits for a free session and for the token as long as ctx lasts,
// and mends what a new session, a new login or a new initialisation of the
// module mends. A call into the module that does not return within the
// configuration's CallTimeout wraps [capsign.ProviderHung].
func (p *Provider) Sign(ctx context.Context, kid string, msg []byte) (capsign.Signature, error) {
	sig, err := p.sign(ctx, kid, msg)
	if err != nil {
		return capsign.Signature{}, refuse("sign", err)
	}
	return sig, nil
}

// sign is Sign with the errors of the inside.
func (p *Provider) sign(ctx context.Context, kid string, msg []byte) (capsign.Signature, error) {
	if p.closed.Load() {
		return capsign.Signature{}, errStopped
	}
	held := p.held.Load()
	if kid == "" {
		kid = held.current
	}
	k, ok := held.byKID[kid]
	if !ok {
		return capsign.Signature{}, capsign.KIDUnknown
	}
	op, err := signing(k.Alg, msg)
	if err != nil {
		return capsign.Signature{}, err
	}
	raw, err := p.token.sign(ctx, k, op)
	if err != nil {
		return capsign.Signature{}, err
	}
	sig, err := canonical(k.Key, raw)
	if err != nil {
		return capsign.Signature{}, err
	}
	return capsign.Signature{KID: kid, Alg: k.Alg, Bytes: sig}, nil
}

// Reload looks for versions that are new on the token, has each sign once and
// lists them too. The current version stays. It wraps [capsign.KeyUnknown]
// where the token has no version at all.
func (p *Provider) Reload(ctx context.Context) error {
	if p.closed.Load() {
		return refuse("reload", errStopped)
	}
	found, err := p.adopt(ctx)
	if err == nil && found == 0 {
		err = capsign.KeyUnknown
	}
	if err != nil {
		return refuse("reload", err)
	}
	return nil
}

// Close lets go of the token, and of the module where no other provider of the
// process is open on it. A call that does not return keeps both as they are. A
// later Sign is refused.
func (p *Provider) Close() error { return p.close(context.Background()) }

// close is Close. It takes its time, whether or not ctx is done.
func (p *Provider) close(ctx context.Context) error {
	if p.closed.Swap(true) {
		return nil
	}
	var keys []*key
	for _, k := range p.held.Load().byKID {
		keys = append(keys, k)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healTime)
	defer cancel()
	if err := p.token.detach(ctx, keys); err != nil {
		return refuse("close", err)
	}
	return nil
}
