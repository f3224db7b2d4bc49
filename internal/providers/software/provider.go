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
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
)

var _ providers.Provider = (*Provider)(nil)

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
	// not encrypted is refused. Empty but not nil is a configuration fault. It
	// is not retained.
	Passphrase []byte

	// workFactor is the base-2 logarithm of scrypt's cost in a new file; zero
	// is age's own choice of about a second. Tests lower it.
	workFactor int
}

// Provider signs with the versions of one key, which it holds in memory. What
// it holds never changes, so that Sign takes no lock. It prints as REDACTED.
type Provider struct {
	versions map[string]version // by kid
	kids     []string           // oldest first
	closed   atomic.Bool
}

// Open loads every version of the key. It wraps [capsign.KeyUnknown] where the
// directory has no file of the key's, [capsign.KeyFileUnsafe] where others
// could have read or replaced one, [capsign.KeyFileInvalid] where a file is not
// exactly one private key or repeats another version's,
// [capsign.PassphraseIncorrect] where the passphrase does not open one, and
// [capsign.UnsupportedAlg] for any other kind of key. One bad version fails
// them all: a worker that lacks one would sign with the wrong key.
func Open(ctx context.Context, cfg Config) (*Provider, error) {
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
	p := &Provider{versions: make(map[string]version, len(numbers))}
	for _, n := range numbers {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("software: open key: %w", capsign.ProviderTimeout)
		}
		v, err := dir.load(dir.fileName(n))
		if err != nil {
			return nil, err
		}
		if _, twice := p.versions[v.key.KID]; twice {
			return nil, fmt.Errorf("software: open key: one key in two versions: %w", capsign.KeyFileInvalid)
		}
		v.key.Version = strconv.Itoa(n)
		p.versions[v.key.KID] = v
		p.kids = append(p.kids, v.key.KID)
	}
	return p, nil
}

// ProviderID returns [capsign.ProviderSoftware].
func (p *Provider) ProviderID() string { return capsign.ProviderSoftware }

// CurrentKID returns the kid of the version with the highest number.
func (p *Provider) CurrentKID(context.Context) (string, error) {
	return p.current(), nil
}

// ListKIDs returns the kids of all versions, oldest first.
func (p *Provider) ListKIDs(context.Context) ([]string, error) {
	return slices.Clone(p.kids), nil
}

// PublicKey returns the key version that kid names. It wraps
// [capsign.KIDUnknown] where the provider does not hold it.
func (p *Provider) PublicKey(_ context.Context, kid string) (capsign.Key, error) {
	v, ok := p.versions[kid]
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
	if ctx.Err() != nil {
		return capsign.Signature{}, fmt.Errorf("software: sign: %w", capsign.ProviderTimeout)
	}
	if p.closed.Load() {
		return capsign.Signature{}, fmt.Errorf("software: sign after close: %w", capsign.ProviderUnavailable)
	}
	if kid == "" {
		kid = p.current()
	}
	v, ok := p.versions[kid]
	if !ok {
		return capsign.Signature{}, fmt.Errorf("software: sign: %w", capsign.KIDUnknown)
	}
	sig, err := v.sign(msg)
	if err != nil {
		return capsign.Signature{}, err
	}
	return capsign.Signature{KID: kid, Alg: v.key.Alg, Bytes: sig}, nil
}

// Close overwrites the Ed25519 private keys and lets go of the others: the
// standard library gives no way to overwrite a P-256 key, nor the copies that
// it keeps to sign faster, which go with the garbage collector. Every Sign must
// have returned; a later one is refused.
func (p *Provider) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	for _, v := range p.versions {
		v.wipe()
	}
	return nil
}

// current returns the kid of the newest version.
func (p *Provider) current() string { return p.kids[len(p.kids)-1] }
