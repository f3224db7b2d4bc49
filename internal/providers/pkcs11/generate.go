//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/capsign/cap/capsign"
)

// rsaBits is the size of a generated RSA key.
const rsaBits = 3072

// generateTries is how often Generate makes way for somebody who generates the
// same version at the same time.
const generateTries = 3

// generateTime is how long the call that makes a key pair may take: a chip looks
// for RSA primes for half a minute.
const generateTime = time.Minute

// Generate makes a key pair on the token, its private key sensitive and not
// extractable, as the first or the next version of the key that cfg describes,
// has it sign once and returns its kid. Its errors are those of [Open]; a
// mechanism that the token does not have wraps [capsign.UnsupportedAlg], a
// configuration that pins a KeyID [capsign.ConfigInvalid].
func Generate(ctx context.Context, cfg Config) (kid string, err error) {
	p, err := open(ctx, cfg)
	if err != nil {
		return "", refuse("generate", err)
	}
	defer func() { _ = p.close(ctx) }() // the key is there, whatever becomes of this
	return p.Generate(ctx)
}

// Generate makes a further version of the key. It is listed and signs at once;
// the current one stays. Its errors are those of the function Generate.
func (p *Provider) Generate(ctx context.Context) (kid string, err error) {
	if p.closed.Load() {
		return "", refuse("generate", errStopped)
	}
	if len(p.cfg.KeyID) > 0 {
		return "", refuse("generate", fmt.Errorf("key id is pinned: %w", capsign.ConfigInvalid))
	}
	label, err := p.generate(ctx)
	if err != nil {
		return "", refuse("generate", err)
	}
	if _, err := p.adopt(ctx); err != nil {
		return "", refuse("generate", err)
	}
	for kid, k := range p.held.Load().byKID {
		if k.label == label {
			return kid, nil
		}
	}
	return "", refuse("generate", errGone)
}

// generate makes the key pair of the next version and returns its label. Where
// the token shows that somebody else has just made that version too, one label
// for two keys would leave neither usable: it takes its own back and makes the
// version after. SoftHSM does not show it; Open then says that the key is
// ambiguous.
func (p *Provider) generate(ctx context.Context) (label string, err error) {
	t := p.token
	if err := t.m.admin.take(ctx); err != nil {
		return "", err
	}
	defer t.m.admin.give()
	for range generateTries {
		next, err := t.nextVersion(ctx, p.cfg)
		if err != nil {
			return "", err
		}
		label = versionLabel(p.cfg.KeyLabel, next)
		alone := false
		err = t.m.callWithin(ctx, max(t.m.limit, generateTime), func(ctx context.Context, th *thread) (err error) {
			alone, err = t.generateOn(ctx, th, p.cfg.Alg, label)
			return err
		})
		if err != nil {
			return "", err
		}
		if alone {
			return label, nil
		}
	}
	return "", errTwoKeys
}

// nextVersion returns the number after the newest version's.
func (t *token) nextVersion(ctx context.Context, cfg Config) (int, error) {
	newest := 0
	err := t.look(ctx, func(ctx context.Context, v view) error {
		if err := t.mustBeUser(ctx, v.th); err != nil {
			return err
		}
		objects, err := v.privateKeys(ctx, cfg)
		if err != nil {
			return err
		}
		for _, object := range objects {
			label, err := v.attribute(ctx, object, p11.CKA_LABEL)
			if err != nil {
				return err
			}
			newest = max(newest, versionNumber(cfg.KeyLabel, string(label)))
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return newest + 1, nil
}

// generateOn makes a key pair on the control thread, in a session that may
// write, and reports whether its label is its own. A pair that is of no use is
// destroyed again.
func (t *token) generateOn(ctx context.Context, th *thread, alg capsign.Alg, label string) (alone bool, err error) {
	session, err := t.openSession(ctx, th, p11.CKF_RW_SESSION)
	if err != nil {
		return false, err
	}
	final := context.WithoutCancel(ctx)
	v := view{t.m, th, p11.SessionHandle(session)}
	defer func() {
		_ = t.m.enter(final, th, "C_CloseSession", func() error { return t.m.lib.CloseSession(v.session) })
	}()
	public, private, err := v.generatePair(ctx, alg, label)
	if err != nil {
		return false, err
	}
	alone, err = v.keepsItsKey(final, private, label)
	if err != nil || !alone {
		v.destroy(final, private)
		v.destroy(final, public)
	}
	return alone, err
}

// generatePair makes the key pair.
func (v view) generatePair(ctx context.Context, alg capsign.Alg, label string) (public, private p11.ObjectHandle, err error) {
	mechanism, shape, err := pairShape(alg)
	if err != nil {
		return 0, 0, err
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	both := []*p11.Attribute{
		p11.NewAttribute(p11.CKA_TOKEN, true),
		p11.NewAttribute(p11.CKA_LABEL, label),
		p11.NewAttribute(p11.CKA_ID, id),
	}
	publicSide := slices.Concat(both, shape, []*p11.Attribute{p11.NewAttribute(p11.CKA_VERIFY, true)})
	privateSide := slices.Concat(both, []*p11.Attribute{
		p11.NewAttribute(p11.CKA_PRIVATE, true),
		p11.NewAttribute(p11.CKA_SENSITIVE, true),
		p11.NewAttribute(p11.CKA_EXTRACTABLE, false),
		p11.NewAttribute(p11.CKA_SIGN, true),
	})
	err = v.m.enter(ctx, v.th, "C_GenerateKeyPair", func() (err error) {
		public, private, err = v.m.lib.GenerateKeyPair(v.session, []*p11.Mechanism{{Mechanism: mechanism}}, publicSide, privateSide)
		return err
	})
	return public, private, err
}

// pairShape returns the mechanism that generates keys for alg and the
// attributes that say which.
func pairShape(alg capsign.Alg) (mechanism uint, shape []*p11.Attribute, err error) {
	switch alg {
	case capsign.PS256, capsign.RS256:
		return ckmRSAKeyPairGen, []*p11.Attribute{
			p11.NewAttribute(p11.CKA_MODULUS_BITS, rsaBits),
			p11.NewAttribute(p11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}),
		}, nil
	}
	for _, c := range curves {
		if c.alg == alg {
			mechanism = ckmECKeyPairGen
			if c.weier == nil {
				mechanism = ckmECEdwardsKeyPairGen
			}
			return mechanism, []*p11.Attribute{p11.NewAttribute(p11.CKA_EC_PARAMS, c.oid)}, nil
		}
	}
	return 0, nil, fmt.Errorf("algorithm: %w", capsign.UnsupportedAlg)
}

// keepsItsKey reports whether a new private key is the only one of its label. A
// token that would give the key away wraps [capsign.Integrity].
func (v view) keepsItsKey(ctx context.Context, private p11.ObjectHandle, label string) (alone bool, err error) {
	sensitive, err := v.isTrue(ctx, private, p11.CKA_SENSITIVE)
	if err != nil {
		return false, err
	}
	extractable, err := v.isTrue(ctx, private, p11.CKA_EXTRACTABLE)
	if err != nil {
		return false, err
	}
	if !sensitive || extractable {
		return false, fmt.Errorf("token does not keep its key: %w", capsign.Integrity)
	}
	found, err := v.find(ctx, p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PRIVATE_KEY), p11.NewAttribute(p11.CKA_LABEL, label))
	return len(found) == 1, err
}

// destroy destroys an object that has just been made.
func (v view) destroy(ctx context.Context, object p11.ObjectHandle) {
	_ = v.m.enter(ctx, v.th, "C_DestroyObject", func() error { return v.m.lib.DestroyObject(v.session, object) })
}
