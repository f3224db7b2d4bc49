package azurekms

import (
	"cmp"
	"context"
	"crypto/rsa"
	"errors"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/retry"
)

// defaultRSABits is the size of a first RSA key: the least that cap accepts.
const defaultRSABits = 3072

// Generate makes the key, or a further version of it, in the vault and returns
// its kid. The private key can sign and verify, and cannot be exported; it is
// protected by an HSM where the key's newest version is. Providers that are
// open already do not learn of it.
//
// It wraps [capsign.UnsupportedAlg] for an algorithm that the vault has not,
// [capsign.KeyDisabled] where a deleted key still has the name, and what [Open]
// wraps. After an error of the kind that may pass, the vault may have made a
// version all the same: it is not tried again.
func Generate(ctx context.Context, cfg Config) (kid string, err error) {
	c, err := newClient("generate key", cfg)
	if err != nil {
		return "", err
	}
	defer c.close()
	like, err := newest(ctx, c, cfg)
	if err != nil {
		return "", err
	}
	made, err := create(ctx, c, cfg, like)
	if err != nil {
		return "", err
	}
	return made.key.KID, nil
}

// Generate makes a further version of the key, of the current one's type unless
// the configuration says otherwise. It is listed and signs at once; the current
// one stays current until the provider is opened again.
func (p *Provider) Generate(ctx context.Context) (kid string, err error) {
	holds := p.held.Load()
	made, err := create(ctx, p.client, p.cfg, holds.versions[holds.current])
	if err != nil {
		return "", err
	}
	p.hold(made)
	return made.key.KID, nil
}

// Reload lists the versions that were made since the provider was opened, and
// takes over what was changed of the others. The current version stays, and so
// does one that may not sign any more, which the vault refuses.
func (p *Provider) Reload(ctx context.Context) error {
	found, err := find(ctx, p.client, p.cfg)
	if err != nil {
		return err
	}
	for _, v := range found {
		p.hold(v)
	}
	return nil
}

// newest returns the key's newest version, or nil where there is no key yet.
func newest(ctx context.Context, c *client, cfg Config) (*version, error) {
	bundle, err := c.get(ctx, "generate key", first, "")
	if errors.Is(err, capsign.KeyUnknown) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return newVersion("generate key", cfg, bundle, "")
}

// create makes a version like another; nil is none. CreateKey does so for the
// first version and for further ones alike, with one permission and with a type
// that is said; RotateKey would need another, and take its type from a version
// that somebody else may have made meanwhile.
func create(ctx context.Context, c *client, cfg Config, like *version) (*version, error) {
	alg := cfg.Alg
	if alg == "" && like != nil {
		alg = like.key.Alg
	}
	alg = cmp.Or(alg, capsign.ES256)
	var bundle azkeys.KeyBundle
	err := c.do(ctx, "generate key", retry.Policy{}, func(ctx context.Context) error {
		answer, err := c.keys.CreateKey(ctx, c.name, parameters(alg, like), nil)
		bundle = answer.KeyBundle
		return err
	})
	if err != nil {
		return nil, err
	}
	cfg.Alg = alg
	made, err := newVersion("generate key", cfg, bundle, "")
	if err != nil {
		return nil, err
	}
	if made.key.Alg != alg || made.exportable || !made.usable(cfg.clock()()) {
		return nil, refuse("generate key", capsign.Integrity) // not what was asked for
	}
	return made, nil
}

// parameters says what to create: a key for alg, in an HSM where the other one
// is, and of its size where that is RSA too.
func parameters(alg capsign.Alg, like *version) azkeys.CreateKeyParameters {
	kty, bits := azkeys.KeyTypeEC, int32(defaultRSABits)
	asked := azkeys.CreateKeyParameters{KeyOps: operations(azkeys.KeyOperationSign, azkeys.KeyOperationVerify)}
	for name, curve := range curves {
		if curve.alg == alg {
			asked.Curve = &name
		}
	}
	if asked.Curve == nil {
		kty, asked.KeySize = azkeys.KeyTypeRSA, &bits
	}
	if like != nil {
		if strings.HasSuffix(string(like.kty), "-HSM") {
			kty += "-HSM"
		}
		if public, ok := like.key.Public().(*rsa.PublicKey); ok {
			bits = int32(public.Size() * 8) //nolint:gosec // 4096 at most
		}
	}
	asked.Kty = &kty
	return asked
}

// operations returns the operations in the form that the SDK wants.
func operations(all ...azkeys.KeyOperation) []*azkeys.KeyOperation {
	out := make([]*azkeys.KeyOperation, len(all))
	for i := range all {
		out[i] = &all[i]
	}
	return out
}
