package capsign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// jwk is a public key as RFC 7517 writes it, with two members of cap's own
// that let a reader recompute the kid.
type jwk struct {
	Kty      string `json:"kty"`
	Crv      string `json:"crv,omitzero"`
	X        string `json:"x,omitzero"`
	Y        string `json:"y,omitzero"`
	N        string `json:"n,omitzero"`
	E        string `json:"e,omitzero"`
	Kid      string `json:"kid"`
	Alg      string `json:"alg"`
	Use      string `json:"use"`
	Provider string `json:"cap_provider"`
	KeyName  string `json:"cap_key_name"`
}

// jwkSet is RFC 7517's set of keys.
type jwkSet struct {
	Keys []jwk `json:"keys"`
}

// JWK returns the key as a JSON Web Key (RFC 7517) with the members
// cap_provider and cap_key_name beside the standard ones. An Ed25519 key's alg
// is "EdDSA", the name that today's libraries read.
func (k Key) JWK() ([]byte, error) {
	return encodeJWK(k.jwk())
}

// JWKS returns the key set as a JSON Web Key Set, the form that [ParseKeySet]
// reads.
func (r *KeySet) JWKS() ([]byte, error) {
	set := jwkSet{Keys: make([]jwk, len(r.keys))}
	for i, key := range r.keys {
		set.Keys[i] = key.jwk()
	}
	return encodeJWK(set)
}

// encodeJWK renders a JWK or a set for people and programs to read.
func encodeJWK(v any) ([]byte, error) {
	data, err := json.Marshal(v, jsontext.WithIndent("  "))
	if err != nil {
		return nil, fmt.Errorf("capsign: encode jwk: %w", Internal)
	}
	return append(data, '\n'), nil
}

// ParseKeySet reads a JSON Web Key Set, or a single JSON Web Key, that cap
// wrote. It recomputes each kid: a key under another kid wraps [Integrity],
// anything malformed [BadRequest].
func ParseKeySet(data []byte) (*KeySet, error) {
	var set jwkSet
	if err := unmarshalStrict(data, &set); err != nil {
		var single jwk
		if unmarshalStrict(data, &single) != nil {
			return nil, fmt.Errorf("capsign: key set: %w", BadRequest)
		}
		set.Keys = []jwk{single}
	}
	ring := new(KeySet)
	for _, j := range set.Keys {
		key, err := j.key()
		if err != nil {
			return nil, fmt.Errorf("capsign: key set: %w", err)
		}
		ring.keys = append(ring.keys, key)
	}
	return ring, nil
}

// jwk returns the key's members.
func (k Key) jwk() jwk {
	b64 := base64.RawURLEncoding.EncodeToString
	j := jwk{Kid: k.KID, Alg: string(k.Alg), Use: "sig", Provider: k.Provider, KeyName: k.Name}
	switch public := k.public.(type) {
	case ed25519.PublicKey:
		j.Kty, j.Crv, j.X, j.Alg = "OKP", "Ed25519", b64(public), "EdDSA"
	case *ecdsa.PublicKey:
		x, y := coordinates(public)
		j.Kty, j.Crv, j.X, j.Y = "EC", public.Curve.Params().Name, b64(x), b64(y)
	case *rsa.PublicKey:
		j.Kty, j.N, j.E = "RSA", b64(public.N.Bytes()), b64(big.NewInt(int64(public.E)).Bytes())
	}
	return j
}

// key returns the key version that the members describe.
func (j jwk) key() (Key, error) {
	public, err := j.public()
	if err != nil {
		return Key{}, err
	}
	spki, err := MarshalPublicKey(public)
	if err != nil {
		return Key{}, err
	}
	alg := Alg(j.Alg)
	if j.Alg == "EdDSA" {
		alg = Ed25519
	}
	key, err := NewKey(alg, spki, j.Provider, j.KeyName)
	if err != nil {
		return Key{}, err
	}
	if key.KID != j.Kid {
		return Key{}, fmt.Errorf("jwk under another kid: %w", Integrity)
	}
	return key, nil
}

// public returns the public key that the members describe.
func (j jwk) public() (crypto.PublicKey, error) {
	switch {
	case j.Kty == "OKP" && j.Crv == "Ed25519":
		x, err := decodeMember(j.X)
		if err != nil || len(x) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("jwk: %w", BadRequest)
		}
		return ed25519.PublicKey(x), nil
	case j.Kty == "EC" && j.Crv == "P-256":
		return j.point(elliptic.P256())
	case j.Kty == "EC" && j.Crv == "P-384":
		return j.point(elliptic.P384())
	case j.Kty == "RSA":
		return j.rsa()
	}
	return nil, fmt.Errorf("jwk: %w", UnsupportedAlg)
}

// point returns the EC key of members x and y, which must lie on curve.
func (j jwk) point(curve elliptic.Curve) (crypto.PublicKey, error) {
	x, errX := decodeMember(j.X)
	y, errY := decodeMember(j.Y)
	if errX != nil || errY != nil || len(x) != len(y) {
		return nil, fmt.Errorf("jwk: %w", BadRequest)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, fmt.Errorf("jwk: %w", BadRequest)
	}
	return key, nil
}

// rsa returns the RSA key of members n and e.
func (j jwk) rsa() (crypto.PublicKey, error) {
	n, errN := decodeMember(j.N)
	e, errE := decodeMember(j.E)
	if errN != nil || errE != nil || len(e) == 0 || len(e) > 4 {
		return nil, fmt.Errorf("jwk: %w", BadRequest)
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
}

// decodeMember decodes a base64url member and accepts one spelling only.
func decodeMember(s string) ([]byte, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("jwk: %w", BadRequest)
	}
	return raw, nil
}
