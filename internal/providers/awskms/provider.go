// Package awskms is the provider whose private keys are in AWS's key management
// service.
//
// A key is named in one of four ways. By a key id or a key ARN it is that one
// version. By an alias, or the ARN of an alias, it is a row of versions:
//
//	alias/NAME    version 1
//	alias/NAME-2  version 2
//	alias/NAME-n  and so on, up to the first alias that does not exist
//
// An alias is resolved once, when a version is loaded: its target's key ARN is
// pinned beside the public key, signatures are asked of that ARN, and an answer
// in another key's name is refused. Moving an alias changes nothing for a
// provider that is open.
//
// A version that is disabled or to be deleted is left out while a later one can
// be used; so that no older key signs by mistake, the last one must be usable.
package awskms

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
)

var (
	_ providers.Provider  = (*Provider)(nil)
	_ providers.Generator = (*Provider)(nil)
)

// DefaultCallTimeout bounds a call whose context has no deadline.
const DefaultCallTimeout = 5 * time.Second

// Config names a key and says how the service is reached. Credentials come
// from the SDK's chain and are no part of it.
type Config struct {
	// Region is the AWS region; empty means that of a key ARN or alias ARN, and
	// else that of the SDK's chain. It must not contradict an ARN.
	Region string
	// Key is a key id, a key ARN, an alias such as alias/cap-signer, or an alias
	// ARN.
	Key string
	// Endpoint is the https URL of a private endpoint; empty means AWS's own. An
	// http URL is accepted on loopback only and gets made-up credentials.
	// AWS_ENDPOINT_URL and its kind are not looked at.
	Endpoint string
	// CAFile is a PEM file of the certificates that the endpoint is trusted by
	// instead of the system's; empty means the system's.
	CAFile string
	// KeyName is the key's logical name, which goes into the kid. It must pass
	// capsign.CheckKeyName.
	KeyName string
	// Alg is the algorithm of a generated key, empty meaning ES256. An RSA key
	// signs with it where it is PS256 or RS256, and else with PS256; any other
	// key has but one algorithm.
	Alg capsign.Alg
	// CallTimeout bounds a call whose context has no deadline, its retries
	// included; zero means DefaultCallTimeout.
	CallTimeout time.Duration
	// Log gets a line where versions are left out or connections replaced, and
	// at debug level one per failed try; nil means nowhere.
	Log *slog.Logger
}

// Provider signs with the versions of one key. Sign takes no lock.
type Provider struct {
	client *client
	closed atomic.Bool

	growing sync.Mutex // held while versions are added
	held    atomic.Pointer[versions]
}

// Open finds every version of the key and pins it, over a connection that then
// stays open for signatures. Bounded like a call, it wraps [capsign.ConfigInvalid]
// for a configuration that cannot be used, [capsign.KeyUnknown] where there is
// no such key, [capsign.KeyDisabled] where its last version is disabled or to
// be deleted, [capsign.KeyAmbiguous] where two versions are one key,
// [capsign.UnsupportedAlg] for a key that does not sign in any of capsign's
// algorithms, [capsign.CredentialsInvalid] where the chain has no credentials,
// and what else calls fail with. One bad version fails them all: a worker that
// lacks one would sign with the wrong key.
func Open(ctx context.Context, cfg Config) (*Provider, error) {
	c, err := newClient(ctx, cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	found, err := c.lookUp(ctx, "open key")
	if err != nil {
		c.close()
		return nil, err
	}
	held, err := new(versions).with(found...)
	if err != nil {
		c.close()
		return nil, err
	}
	held.current = held.kids[len(held.kids)-1]
	p := &Provider{client: c}
	p.held.Store(held)
	return p, nil
}

// ProviderID returns [capsign.ProviderCloudKMS].
func (p *Provider) ProviderID() string { return capsign.ProviderCloudKMS }

// CurrentKID returns the kid of the version that was the last when the provider
// was opened.
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
	v, ok := p.held.Load().byKID[kid]
	if !ok {
		return capsign.Key{}, fmt.Errorf("awskms: public key: %w", capsign.KIDUnknown)
	}
	key := v.key
	key.SPKI = slices.Clone(key.SPKI)
	return key, nil
}

// Sign signs msg with the version that kid names, or the current one where kid
// is empty. An Ed25519 key takes messages of 1 to 4096 bytes, which are all of
// them sent to the service: a longer one wraps [capsign.TooLarge] and an empty
// one [capsign.BadRequest]. Of other keys only a digest leaves the process. A
// kid that the provider does not hold wraps [capsign.KIDUnknown], an answer
// that is not this key's [capsign.Integrity].
func (p *Provider) Sign(ctx context.Context, kid string, msg []byte) (capsign.Signature, error) {
	if ctx.Err() != nil {
		return capsign.Signature{}, fmt.Errorf("awskms: sign: %w", capsign.ProviderTimeout)
	}
	if p.closed.Load() {
		return capsign.Signature{}, fmt.Errorf("awskms: sign after close: %w", capsign.ProviderUnavailable)
	}
	held := p.held.Load()
	if kid == "" {
		kid = held.current
	}
	v, ok := held.byKID[kid]
	if !ok {
		return capsign.Signature{}, fmt.Errorf("awskms: sign: %w", capsign.KIDUnknown)
	}
	sig, err := p.client.sign(ctx, v, msg)
	if err != nil {
		return capsign.Signature{}, err
	}
	return capsign.Signature{KID: kid, Alg: v.key.Alg, Bytes: sig}, nil
}

// Generate makes a further version in the service: a key and the next alias.
// It never moves an alias. See [Generate].
func (p *Provider) Generate(ctx context.Context) (kid string, err error) {
	if p.closed.Load() {
		return "", fmt.Errorf("awskms: generate after close: %w", capsign.ProviderUnavailable)
	}
	p.growing.Lock()
	defer p.growing.Unlock()
	v, err := p.client.generate(ctx)
	if err != nil {
		return "", err
	}
	if err := p.add(v); err != nil {
		return "", err
	}
	return v.key.KID, nil
}

// Reload looks the key up again and lists the versions that are new. Those that
// it has stay pinned, wherever their aliases may have gone.
func (p *Provider) Reload(ctx context.Context) error {
	if p.closed.Load() {
		return fmt.Errorf("awskms: reload after close: %w", capsign.ProviderUnavailable)
	}
	p.growing.Lock()
	defer p.growing.Unlock()
	ctx, cancel := p.client.bound(ctx)
	defer cancel()
	found, err := p.client.lookUp(ctx, "reload key")
	if err != nil {
		return err
	}
	held := p.held.Load()
	known := func(v version) bool { return held.holds(v.arn) }
	return p.add(slices.DeleteFunc(found, known)...)
}

// add lists versions that the provider did not hold.
func (p *Provider) add(found ...version) error {
	held, err := p.held.Load().with(found...)
	if err != nil {
		return err
	}
	p.held.Store(held)
	return nil
}

// Close closes the connections. Every Sign must have returned; a later one is
// refused.
func (p *Provider) Close() error {
	if !p.closed.Swap(true) {
		p.client.close()
	}
	return nil
}
