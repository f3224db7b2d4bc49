// Package software is the provider whose private keys are files of the machine
// it runs on. It is the default of a worker without a configuration, and a
// fallback only where a configuration names it.
//
// A key is a set of files in one directory, one per version, each named
//
//	<key name as a subject token>.<n>.pem
//
// with n counting from 1; the highest n is the current version. A file holds
// one Ed25519 or P-256 private key as PKCS#8 or SEC1, and is encrypted with
// age under a passphrase where one is configured. [Open] refuses any file, and
// any directory, that somebody else could have read or replaced.
package software

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
)

var (
	_ providers.Provider  = (*Provider)(nil)
	_ providers.Generator = (*Provider)(nil)
)

// Config names a key and says how its files are kept. It prints as REDACTED.
type Config struct {
	// Dir is the directory of the key files. It must belong to the user that
	// runs the process or to root, and nobody else may write to it. Generate
	// makes it with mode 0700 where it is missing.
	Dir string
	// KeyName is the key's logical name, which goes into the kid. It must pass
	// capsign.CheckKeyName.
	KeyName string
	// Alg is the algorithm that Generate makes a key for, Ed25519 or ES256;
	// empty is Ed25519. Open takes a version's algorithm from its file.
	Alg capsign.Alg
	// Passphrase encrypts the key files. Nil means that they are not encrypted,
	// and an encrypted one is then refused; with a passphrase, a file that is
	// not encrypted is refused. Empty but not nil is a configuration fault. A
	// provider keeps a copy until it is closed, for versions to come.
	Passphrase []byte

	// workFactor is the base-2 logarithm of scrypt's cost in a new file; zero
	// is age's own choice of about a second. Tests lower it.
	workFactor int
}

// Provider signs with the versions of one key, which it holds in memory. Sign
// takes no lock. It prints as REDACTED.
type Provider struct {
	cfg    Config
	closed atomic.Bool

	growing sync.Mutex // held while versions are added
	held    atomic.Pointer[versions]
}

// versions is a set of key versions. It never changes: a provider that learns
// of another version takes another set.
type versions struct {
	byKID   map[string]version
	kids    []string // oldest first
	current string
}

// Open loads every version of the key. It wraps [capsign.KeyUnknown] where the
// directory has no file of the key's, [capsign.KeyFileUnsafe] where others
// could have read or replaced one, [capsign.KeyFileInvalid] where a file is not
// exactly one private key or repeats another version's,
// [capsign.PassphraseIncorrect] where the passphrase does not open one, and
// [capsign.UnsupportedAlg] for any other kind of key. One bad version fails
// them all: a worker that lacks one would sign with the wrong key.
func Open(ctx context.Context, cfg Config) (*Provider, error) {
	found, err := cfg.load(ctx)
	if err != nil {
		return nil, err
	}
	cfg.Passphrase = slices.Clone(cfg.Passphrase)
	p := &Provider{cfg: cfg}
	p.held.Store(found)
	return p, nil
}

// load reads every version of the key.
func (cfg Config) load(ctx context.Context) (*versions, error) {
	dir, err := cfg.openDir("open key")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	numbers, err := dir.versions()
	if err != nil {
		return nil, err
	}
	if len(numbers) == 0 {
		return nil, fmt.Errorf("software: open key: %w", capsign.KeyUnknown)
	}
	found := &versions{byKID: make(map[string]version, len(numbers))}
	for _, n := range numbers {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("software: open key: %w", capsign.ProviderTimeout)
		}
		v, err := dir.load(dir.fileName(n))
		if err != nil {
			return nil, err
		}
		if _, twice := found.byKID[v.key.KID]; twice {
			return nil, fmt.Errorf("software: open key: one key in two versions: %w", capsign.KeyFileInvalid)
		}
		v.key.Version = strconv.Itoa(n)
		found.byKID[v.key.KID] = v
		found.kids = append(found.kids, v.key.KID)
		found.current = v.key.KID
	}
	return found, nil
}

// ProviderID returns [capsign.ProviderSoftware].
func (p *Provider) ProviderID() string { return capsign.ProviderSoftware }

// CurrentKID returns the kid of the version that had the highest number when the
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
	v, ok := p.held.Load().byKID[kid]
	if !ok {
		return capsign.Key{}, fmt.Errorf("software: public key: %w", capsign.KIDUnknown)
	}
	key := v.key
	key.SPKI = slices.Clone(key.SPKI)
	return key, nil
}

// Sign signs msg with the version that kid names, or the current one where kid
// is empty. It does no I/O, so that ctx matters only where it is done already:
// that wraps [capsign.ProviderTimeout]. A kid that the provider does not hold
// wraps [capsign.KIDUnknown].
func (p *Provider) Sign(ctx context.Context, kid string, msg []byte) (capsign.Signature, error) {
	kid, v, err := p.signer(ctx, kid)
	if err != nil {
		return capsign.Signature{}, err
	}
	sig, err := v.sign(msg)
	if err != nil {
		return capsign.Signature{}, err
	}
	return capsign.Signature{KID: kid, Alg: v.key.Alg, Bytes: sig}, nil
}

// signer returns the version that is to sign, and its kid.
func (p *Provider) signer(ctx context.Context, kid string) (string, version, error) {
	if ctx.Err() != nil {
		return "", version{}, fmt.Errorf("software: sign: %w", capsign.ProviderTimeout)
	}
	if p.closed.Load() {
		return "", version{}, fmt.Errorf("software: sign after close: %w", capsign.ProviderUnavailable)
	}
	held := p.held.Load()
	if kid == "" {
		kid = held.current
	}
	v, ok := held.byKID[kid]
	if !ok {
		return "", version{}, fmt.Errorf("software: sign: %w", capsign.KIDUnknown)
	}
	return kid, v, nil
}

// Close overwrites the Ed25519 private keys and lets go of the others: the
// standard library gives no way to overwrite a P-256 key, nor the copies that
// it keeps to sign faster, which go with the garbage collector. Every Sign must
// have returned; a later one is refused.
func (p *Provider) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	p.growing.Lock()
	defer p.growing.Unlock()
	for _, v := range p.held.Load().byKID {
		v.wipe()
	}
	clear(p.cfg.Passphrase)
	return nil
}

// Generate makes the key's next version, as the function of that name does, and
// holds it too.
func (p *Provider) Generate(ctx context.Context) (kid string, err error) {
	p.growing.Lock()
	defer p.growing.Unlock()
	if p.closed.Load() {
		return "", fmt.Errorf("software: generate after close: %w", capsign.ProviderUnavailable)
	}
	if kid, err = Generate(ctx, p.cfg); err != nil {
		return "", err
	}
	return kid, p.reload(ctx)
}

// Reload holds the versions too that were added since the provider was opened.
// Its errors are those of Open; the provider then goes on with what it holds.
func (p *Provider) Reload(ctx context.Context) error {
	p.growing.Lock()
	defer p.growing.Unlock()
	if p.closed.Load() {
		return fmt.Errorf("software: reload after close: %w", capsign.ProviderUnavailable)
	}
	return p.reload(ctx)
}

// reload does Reload's work. A version that is held already stays, even if its
// file is gone, and so does the current one. The caller holds growing.
func (p *Provider) reload(ctx context.Context) error {
	found, err := p.cfg.load(ctx)
	if err != nil {
		return err
	}
	held := p.held.Load()
	all := &versions{byKID: maps.Clone(held.byKID), kids: slices.Clone(held.kids), current: held.current}
	for _, kid := range found.kids {
		if _, known := held.byKID[kid]; known {
			found.byKID[kid].wipe()
			continue
		}
		all.byKID[kid] = found.byKID[kid]
		all.kids = append(all.kids, kid)
	}
	p.held.Store(all)
	return nil
}
