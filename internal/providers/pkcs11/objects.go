//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"github.com/capsign/cap/capsign"
)

// ckaPublicKeyInfo is CKA_PUBLIC_KEY_INFO, which the wrapper has no name for.
const ckaPublicKeyInfo = 0x129

// findAtOnce is how many handles one C_FindObjects may return.
const findAtOnce = 64

// view is a session on the control thread to look at a token's objects with.
type view struct {
	m       *module
	th      *thread
	session p11.SessionHandle
}

// look runs work on the control thread with a view of the anchor session.
func (t *token) look(ctx context.Context, work func(context.Context, view) error) error {
	return t.m.call(ctx, func(ctx context.Context, th *thread) error {
		return work(ctx, view{t.m, th, p11.SessionHandle(t.anchor)})
	})
}

// find returns all objects that fit template.
func (v view) find(ctx context.Context, template ...*p11.Attribute) ([]p11.ObjectHandle, error) {
	err := v.m.enter(ctx, v.th, "C_FindObjectsInit", func() error { return v.m.lib.FindObjectsInit(v.session, template) })
	if err != nil {
		return nil, err
	}
	// Else the session would be of no more use.
	final := context.WithoutCancel(ctx)
	defer func() {
		_ = v.m.enter(final, v.th, "C_FindObjectsFinal", func() error { return v.m.lib.FindObjectsFinal(v.session) })
	}()
	var found []p11.ObjectHandle
	for {
		var some []p11.ObjectHandle
		err := v.m.enter(ctx, v.th, "C_FindObjects", func() (err error) {
			some, _, err = v.m.lib.FindObjects(v.session, findAtOnce)
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(some) == 0 {
			return found, nil
		}
		found = append(found, some...)
	}
}

// attribute returns an object's attribute; nil means that it has none, or does
// not show it. Attributes are asked for one by one, since one that is missing
// fails the whole call.
func (v view) attribute(ctx context.Context, object p11.ObjectHandle, attribute uint) (value []byte, err error) {
	err = v.m.enter(ctx, v.th, "C_GetAttributeValue", func() error {
		got, err := v.m.lib.GetAttributeValue(v.session, object, []*p11.Attribute{{Type: attribute}})
		if err == nil {
			value = got[0].Value
		}
		return err
	})
	if isRV(err, rvAttributeTypeInvalid) || isRV(err, rvAttributeSensitive) {
		return nil, nil
	}
	return value, err
}

// isTrue returns an object's CK_BBOOL; one that it does not have is false.
func (v view) isTrue(ctx context.Context, object p11.ObjectHandle, attribute uint) (bool, error) {
	value, err := v.attribute(ctx, object, attribute)
	return len(value) == 1 && value[0] != 0, err
}

// keyType returns an object's CKA_KEY_TYPE.
func (v view) keyType(ctx context.Context, object p11.ObjectHandle) (uint, error) {
	value, err := v.attribute(ctx, object, p11.CKA_KEY_TYPE)
	if err != nil {
		return 0, err
	}
	kind, ok := parseUlong(value)
	if !ok {
		return 0, fmt.Errorf("key type: %w", capsign.UnsupportedAlg)
	}
	return kind, nil
}

// publicKey returns the public key of a private key object: from the object
// itself, which not every token shows it on, else from the public key object of
// the same CKA_ID and type, else from a certificate of that CKA_ID. Whether it
// is the right one only a signature tells.
func (v view) publicKey(ctx context.Context, private p11.ObjectHandle) (crypto.PublicKey, error) {
	kind, err := v.keyType(ctx, private)
	if err != nil {
		return nil, err
	}
	for _, from := range []func(context.Context, p11.ObjectHandle, uint) (crypto.PublicKey, error){
		v.fromObject, v.fromInfo, v.fromPublicObject, v.fromCertificate,
	} {
		if public, err := from(ctx, private, kind); public != nil || err != nil {
			return public, err
		}
	}
	return nil, fmt.Errorf("no public key to the private one: %w", capsign.KeyUnknown)
}

// fromObject returns the public key that an object's own attributes hold; nil
// means that they hold none.
func (v view) fromObject(ctx context.Context, object p11.ObjectHandle, kind uint) (crypto.PublicKey, error) {
	switch kind {
	case ckkRSA:
		return v.rsaFromObject(ctx, object)
	case ckkEC, ckkECEdwards:
	default:
		return nil, fmt.Errorf("key type: %w", capsign.UnsupportedAlg)
	}
	params, err := v.attribute(ctx, object, p11.CKA_EC_PARAMS)
	if err != nil {
		return nil, err
	}
	point, err := v.attribute(ctx, object, p11.CKA_EC_POINT)
	if err != nil || len(params) == 0 {
		return nil, err
	}
	group, err := curveOf(kind, params)
	if err != nil || len(point) == 0 {
		return nil, err
	}
	return group.publicKey(point)
}

// rsaFromObject is fromObject for RSA.
func (v view) rsaFromObject(ctx context.Context, object p11.ObjectHandle) (crypto.PublicKey, error) {
	modulus, err := v.attribute(ctx, object, p11.CKA_MODULUS)
	if err != nil {
		return nil, err
	}
	exponent, err := v.attribute(ctx, object, p11.CKA_PUBLIC_EXPONENT)
	if err != nil || len(modulus) == 0 || len(exponent) == 0 {
		return nil, err
	}
	return rsaKey(modulus, exponent)
}

// fromInfo returns the public key in an object's CKA_PUBLIC_KEY_INFO.
func (v view) fromInfo(ctx context.Context, object p11.ObjectHandle, _ uint) (crypto.PublicKey, error) {
	info, err := v.attribute(ctx, object, ckaPublicKeyInfo)
	if err != nil || len(info) == 0 {
		return nil, err
	}
	public, err := x509.ParsePKIXPublicKey(info)
	if err != nil {
		return nil, nil //nolint:nilerr // tokens put other things here; the next place may have it
	}
	return public, nil
}

// fromPublicObject returns what the public key object of a private key holds.
func (v view) fromPublicObject(ctx context.Context, private p11.ObjectHandle, kind uint) (crypto.PublicKey, error) {
	object, err := v.companion(ctx, private, p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PUBLIC_KEY), p11.NewAttribute(p11.CKA_KEY_TYPE, kind))
	if object == 0 || err != nil {
		return nil, err
	}
	return v.fromObject(ctx, object, kind)
}

// fromCertificate returns what the X.509 certificate of a private key holds.
func (v view) fromCertificate(ctx context.Context, private p11.ObjectHandle, _ uint) (crypto.PublicKey, error) {
	object, err := v.companion(ctx, private, p11.NewAttribute(p11.CKA_CLASS, p11.CKO_CERTIFICATE))
	if object == 0 || err != nil {
		return nil, err
	}
	der, err := v.attribute(ctx, object, p11.CKA_VALUE)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil //nolint:nilerr // there is no public key in it then
	}
	return certificate.PublicKey, nil
}

// companion returns the one object that fits template and has the CKA_ID of a
// private key; zero means that there is none.
func (v view) companion(ctx context.Context, private p11.ObjectHandle, template ...*p11.Attribute) (p11.ObjectHandle, error) {
	id, err := v.attribute(ctx, private, p11.CKA_ID)
	if err != nil || len(id) == 0 {
		return 0, err
	}
	found, err := v.find(ctx, append(template, p11.NewAttribute(p11.CKA_ID, id))...)
	switch {
	case err != nil || len(found) == 0:
		return 0, err
	case len(found) > 1:
		return 0, fmt.Errorf("more than one public key fits: %w", capsign.KeyAmbiguous)
	}
	return found[0], nil
}
