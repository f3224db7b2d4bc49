//go:build cgo && !nopkcs11

package pkcs11

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/capsign/cap/capsign"
)

// key is a private key on a token, with the public key that was pinned when it
// was found first.
type key struct {
	capsign.Key

	number     int    // of the version
	label      string // its CKA_LABEL
	id         []byte // its CKA_ID
	pinned     bool   // selected by id, not by label
	authAlways bool   // CKA_ALWAYS_AUTHENTICATE
	pin        []byte // for that
	guard      LoginGuard

	handle    uint                      // changes with the gate shut
	goneUntil atomic.Pointer[time.Time] // not on the token, and when to look again; nil: it is there
	changed   atomic.Bool               // another key is in its place
}

// Why a key that was there cannot sign.
var (
	errChanged = fmt.Errorf("another key in its place: %w", capsign.Integrity)
	errGone    = fmt.Errorf("key is gone: %w", capsign.ProviderUnavailable)
)

// errTwoKeys says that a version cannot be told.
var errTwoKeys = fmt.Errorf("more than one key fits: %w", capsign.KeyAmbiguous)

// search returns the versions of the key that cfg describes, oldest first.
func (t *token) search(ctx context.Context, cfg Config) ([]*key, error) {
	var found []*key
	err := t.look(ctx, func(ctx context.Context, v view) error {
		// Who is not logged in sees no private keys, and no error either.
		if err := t.mustBeUser(ctx, v.th); err != nil {
			return err
		}
		objects, err := v.privateKeys(ctx, cfg)
		if err != nil {
			return err
		}
		for _, object := range objects {
			k, err := t.newKey(ctx, v, object, cfg)
			if err != nil {
				return err
			}
			if k != nil {
				found = append(found, k)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b *key) int { return cmp.Compare(a.number, b.number) })
	for i, k := range found {
		if i > 0 && found[i-1].number == k.number {
			return nil, errTwoKeys
		}
	}
	return found, nil
}

// mustBeUser fails where the anchor session has lost its login.
func (t *token) mustBeUser(ctx context.Context, th *thread) error {
	state, err := t.state(ctx, th)
	if err != nil {
		return err
	}
	seen, err := t.m.lookAt(ctx, th, t.slot)
	if err == nil && !isUser(state) && seen.flags&ckfLoginRequired != 0 {
		return fmt.Errorf("login is lost: %w", capsign.ProviderUnavailable)
	}
	return err
}

// privateKeys returns the private keys that may be versions of cfg's: all of
// the token's where the label decides.
func (v view) privateKeys(ctx context.Context, cfg Config) ([]p11.ObjectHandle, error) {
	template := []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PRIVATE_KEY)}
	if len(cfg.KeyID) > 0 {
		template = append(template, p11.NewAttribute(p11.CKA_ID, cfg.KeyID))
		if cfg.KeyLabel != "" {
			template = append(template, p11.NewAttribute(p11.CKA_LABEL, cfg.KeyLabel))
		}
	}
	return v.find(ctx, template...)
}

// newKey returns the version that an object is, or nil for another key's.
func (t *token) newKey(ctx context.Context, v view, object p11.ObjectHandle, cfg Config) (*key, error) {
	label, err := v.attribute(ctx, object, p11.CKA_LABEL)
	if err != nil {
		return nil, err
	}
	k := &key{label: string(label), pinned: len(cfg.KeyID) > 0, number: 1, pin: cfg.KeyPIN, guard: cfg.Guard, handle: uint(object)}
	if !k.pinned {
		if k.number = versionNumber(cfg.KeyLabel, k.label); k.number == 0 {
			return nil, nil
		}
	}
	if k.id, err = v.attribute(ctx, object, p11.CKA_ID); err != nil {
		return nil, err
	}
	if k.authAlways, err = v.isTrue(ctx, object, p11.CKA_ALWAYS_AUTHENTICATE); err != nil {
		return nil, err
	}
	k.Key, err = v.pin(ctx, object, cfg)
	k.Class, k.Backend, k.Version = t.class, t.label, cmp.Or(k.label, hex.EncodeToString(k.id))
	return k, err
}

// pin returns the public side of a private key object under cfg's name.
func (v view) pin(ctx context.Context, object p11.ObjectHandle, cfg Config) (capsign.Key, error) {
	public, err := v.publicKey(ctx, object)
	if err != nil {
		return capsign.Key{}, err
	}
	alg, err := algOf(public, cfg.Alg)
	if err != nil {
		return capsign.Key{}, err
	}
	spki, err := capsign.MarshalPublicKey(public)
	if err != nil {
		return capsign.Key{}, err
	}
	return capsign.NewKey(alg, spki, capsign.ProviderPKCS11, cfg.KeyName)
}

// refind looks for all keys that providers have pinned: object handles do not
// outlast a login. It fails where none of them is there. The gate must be shut.
func (t *token) refind(ctx context.Context) error {
	gone := 0
	for k := range t.keys {
		handle, err := t.refindKey(ctx, k)
		if err != nil {
			return err
		}
		k.handle = handle
		k.goneUntil.Store(nil)
		if handle == 0 {
			gone++
			again := time.Now().Add(maxBackoff)
			k.goneUntil.Store(&again)
		}
	}
	if gone > 0 && gone == len(t.keys) {
		return errGone
	}
	return nil
}

// refindKey returns the handle of k; zero means that it is not there. Another
// key in its place is noted for good.
func (t *token) refindKey(ctx context.Context, k *key) (handle uint, err error) {
	var found p11.ObjectHandle
	var spki []byte
	err = t.look(ctx, func(ctx context.Context, v view) (err error) {
		if found, err = v.findAgain(ctx, k); err != nil || found == 0 {
			return err
		}
		public, err := v.publicKey(ctx, found)
		if err != nil {
			return err
		}
		spki, err = capsign.MarshalPublicKey(public)
		return err
	})
	if code := codeOf(err); code == capsign.KeyUnknown || code == capsign.KeyAmbiguous {
		return 0, nil // it cannot be told whether it is the same
	}
	if err != nil || found == 0 {
		return 0, err
	}
	if !bytes.Equal(spki, k.SPKI) {
		k.changed.Store(true)
	}
	return uint(found), nil
}

// findAgain returns the object that stands where k stood. Where further ones
// came to the label, the CKA_ID tells k.
func (v view) findAgain(ctx context.Context, k *key) (p11.ObjectHandle, error) {
	class := p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PRIVATE_KEY)
	label, id := p11.NewAttribute(p11.CKA_LABEL, k.label), p11.NewAttribute(p11.CKA_ID, k.id)
	template := []*p11.Attribute{class, label}
	if k.pinned {
		template = []*p11.Attribute{class, id}
	}
	found, err := v.find(ctx, template...)
	if len(found) > 1 {
		found, err = v.find(ctx, class, label, id)
	}
	switch {
	case err != nil || len(found) == 0:
		return 0, err
	case len(found) > 1:
		return 0, errTwoKeys
	}
	return found[0], nil
}
