package azurekms

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/ecdsasig"
)

// version is one key version. It does not change: one whose attributes were
// read anew is another.
type version struct {
	key  capsign.Key
	id   string // of the version, as the vault writes it
	name string // of the key, as the vault writes it
	kty  azkeys.KeyType

	signs       bool // enabled, and allowed to sign
	exportable  bool
	created     time.Time
	from, until time.Time // zero is none
}

// newVersion makes a version out of the vault's answer, which must be about the
// key of cfg and, where id is not empty, about that version of it; otherwise it
// wraps [capsign.Integrity]. A key that cap has no algorithm for wraps
// [capsign.UnsupportedAlg].
func newVersion(op string, cfg Config, bundle azkeys.KeyBundle, id string) (*version, error) {
	jwk := bundle.Key
	if jwk == nil || jwk.KID == nil || jwk.Kty == nil || bundle.Attributes == nil {
		return nil, refuse(op, capsign.Integrity)
	}
	v := &version{id: string(*jwk.KID), kty: *jwk.Kty}
	named, err := ConfigFor(v.id)
	if err != nil || named.Version == "" || named.host() != cfg.host() || !strings.EqualFold(named.Key, cfg.Key) || id != "" && named.Version != id {
		return nil, refuse(op, capsign.Integrity)
	}
	spki, alg, err := publicKey(jwk, cfg.Alg)
	if err != nil {
		return nil, refuse(op, err)
	}
	if v.key, err = capsign.NewKey(alg, spki, capsign.ProviderCloudKMS, cfg.KeyName); err != nil {
		return nil, refuse(op, capsign.UnsupportedAlg)
	}
	v.key.Class, v.key.Backend, v.key.Version, v.name = capsign.ClassCloud, "azure", named.Version, named.Key
	v.setAttributes(bundle)
	return v, nil
}

// setAttributes takes over when the version signs.
func (v *version) setAttributes(bundle azkeys.KeyBundle) {
	sign := func(op *azkeys.KeyOperation) bool { return op != nil && *op == azkeys.KeyOperationSign }
	a := bundle.Attributes
	v.signs = valueOf(a.Enabled) && slices.ContainsFunc(bundle.Key.KeyOps, sign)
	v.exportable = valueOf(a.Exportable)
	v.created, v.from, v.until = valueOf(a.Created), valueOf(a.NotBefore), valueOf(a.Expires)
}

// valueOf returns what p points to, or the zero value.
func valueOf[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// usable reports whether the version signs at the time.
func (v *version) usable(now time.Time) bool {
	return v.signs && !now.Before(v.from) && (v.until.IsZero() || now.Before(v.until))
}

// older orders versions by when they were created, in whole seconds, and then
// by their ids: which of two was first is then anybody's guess, but the same
// one's at every worker.
func older(a, b *version) int {
	if order := a.created.Compare(b.created); order != 0 {
		return order
	}
	return strings.Compare(a.key.Version, b.key.Version)
}

// digest hashes msg as the version's algorithm does.
func (v *version) digest(msg []byte) []byte {
	if v.key.Alg == capsign.ES384 {
		sum := sha512.Sum384(msg)
		return sum[:]
	}
	sum := sha256.Sum256(msg)
	return sum[:]
}

// canonical returns the signature in cap's encoding. Azure's r||s and RSA
// signatures have a fixed length each; any other wraps [capsign.Integrity].
func (v *version) canonical(raw []byte) ([]byte, error) {
	switch public := v.key.Public().(type) {
	case *ecdsa.PublicKey:
		der, err := ecdsasig.FromRaw(public.Curve, raw)
		if err != nil {
			return nil, refuse("sign", capsign.Integrity)
		}
		return der, nil
	case *rsa.PublicKey:
		if len(raw) == public.Size() {
			return raw, nil
		}
	}
	return nil, refuse("sign", capsign.Integrity)
}

// curves are the elliptic curves that cap and Azure have in common.
var curves = map[azkeys.CurveName]struct {
	curve elliptic.Curve
	alg   capsign.Alg
}{
	azkeys.CurveNameP256: {elliptic.P256(), capsign.ES256},
	azkeys.CurveNameP384: {elliptic.P384(), capsign.ES384},
}
