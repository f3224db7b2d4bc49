package pkcs11

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"math/big"
	"slices"

	"github.com/capsign/cap/capsign"
)

// curve is a group that cap has an algorithm for.
type curve struct {
	alg     capsign.Alg
	keyType uint
	oid     []byte         // DER of its object identifier
	names   []string       // what it goes by as a curveName
	weier   elliptic.Curve // nil for Edwards curves
	size    int            // of a public point, in bytes
}

// curves lists them.
var curves = []curve{
	{capsign.ES256, ckkEC, []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07},
		[]string{"secp256r1", "prime256v1", "P-256"}, elliptic.P256(), 65},
	{capsign.ES384, ckkEC, []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22},
		[]string{"secp384r1", "P-384"}, elliptic.P384(), 97},
	{capsign.Ed25519, ckkECEdwards, []byte{0x06, 0x03, 0x2b, 0x65, 0x70},
		[]string{"edwards25519", "Ed25519"}, nil, 32},
}

// curveOf returns the curve that a key's CKA_KEY_TYPE and CKA_EC_PARAMS name,
// as an object identifier or, for a PrintableString, by name. Any other wraps
// [capsign.UnsupportedAlg].
func curveOf(keyType uint, params []byte) (curve, error) {
	for _, c := range curves {
		if c.keyType == keyType && (bytes.Equal(params, c.oid) || c.hasName(params)) {
			return c, nil
		}
	}
	return curve{}, fmt.Errorf("curve: %w", capsign.UnsupportedAlg)
}

// hasName reports whether params is a PrintableString of one of c's names.
func (c curve) hasName(params []byte) bool {
	if len(params) < 2 || params[0] != 0x13 || int(params[1]) != len(params)-2 {
		return false
	}
	return slices.Contains(c.names, string(params[2:]))
}

// publicKey returns the public key in a CKA_EC_POINT: the point itself or the
// point in a DER OCTET STRING, and for Edwards curves also in a BIT STRING.
// Which it is, is told by the length alone: a raw point may begin like DER.
// What is no point of the curve wraps [capsign.Integrity].
func (c curve) publicKey(value []byte) (crypto.PublicKey, error) {
	point := value
	switch {
	case len(value) == c.size:
	case len(value) == c.size+2 && value[0] == 0x04 && int(value[1]) == c.size:
		point = value[2:]
	case c.weier == nil && len(value) == c.size+3 && value[0] == 0x03 && int(value[1]) == c.size+1 && value[2] == 0:
		point = value[3:]
	default:
		return nil, fmt.Errorf("point of another length: %w", capsign.Integrity)
	}
	if c.weier == nil {
		return ed25519.PublicKey(bytes.Clone(point)), nil
	}
	public, err := ecdsa.ParseUncompressedPublicKey(c.weier, point)
	if err != nil {
		return nil, fmt.Errorf("point off the curve: %w", capsign.Integrity)
	}
	return public, nil
}

// rsaKey returns the public key with the modulus and the exponent, as the
// unsigned big-endian numbers of CKA_MODULUS and CKA_PUBLIC_EXPONENT.
func rsaKey(modulus, exponent []byte) (crypto.PublicKey, error) {
	e := new(big.Int).SetBytes(exponent)
	if !e.IsInt64() || e.BitLen() > 31 || e.Bit(0) == 0 || e.Cmp(big.NewInt(3)) < 0 {
		return nil, fmt.Errorf("rsa exponent: %w", capsign.UnsupportedAlg)
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(e.Int64())}, nil
}

// algOf returns the algorithm to use public with; wanted says which where the
// key offers two.
func algOf(public crypto.PublicKey, wanted capsign.Alg) (capsign.Alg, error) {
	switch key := public.(type) {
	case ed25519.PublicKey:
		return capsign.Ed25519, nil
	case *ecdsa.PublicKey:
		for _, c := range curves {
			if c.weier == key.Curve {
				return c.alg, nil
			}
		}
	case *rsa.PublicKey:
		if wanted == capsign.RS256 {
			return capsign.RS256, nil
		}
		return capsign.PS256, nil
	}
	return "", fmt.Errorf("key type: %w", capsign.UnsupportedAlg)
}
