package software

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/capsign/cap/capsign"
)

// version is one key version. It prints as REDACTED.
type version struct {
	key     capsign.Key
	private crypto.Signer // ed25519.PrivateKey or *ecdsa.PrivateKey of P-256
}

// newVersion joins a private key with the name that makes its kid.
func newVersion(private crypto.Signer, keyName string) (version, error) {
	alg := capsign.Ed25519
	if _, ok := private.(*ecdsa.PrivateKey); ok {
		alg = capsign.ES256
	}
	spki, err := capsign.MarshalPublicKey(private.Public())
	if err != nil {
		return version{}, fmt.Errorf("software: key version: %w", capsign.UnsupportedAlg)
	}
	key, err := capsign.NewKey(alg, spki, capsign.ProviderSoftware, keyName)
	if err != nil {
		return version{}, fmt.Errorf("software: key version: %w", capsign.ConfigInvalid)
	}
	return version{key: key, private: private}, nil
}

// sign returns the canonical signature of msg.
func (v version) sign(msg []byte) ([]byte, error) {
	switch private := v.private.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(private, msg), nil
	case *ecdsa.PrivateKey:
		digest := sha256.Sum256(msg)
		sig, err := ecdsa.SignASN1(rand.Reader, private, digest[:])
		if err != nil {
			return nil, fmt.Errorf("software: sign: %w", capsign.Internal)
		}
		return lowS(sig)
	}
	return nil, fmt.Errorf("software: sign: %w", capsign.Internal)
}

// wipe overwrites the private key where the standard library lets it be.
func (v version) wipe() {
	if private, ok := v.private.(ed25519.PrivateKey); ok {
		clear(private)
	}
}

// halfOrder is half of P-256's order, rounded down: the highest s that cap
// releases or accepts.
var halfOrder = new(big.Int).Rsh(elliptic.P256().Params().N, 1)

// lowS returns the P-256 signature (r, s) as it is where s is at most half the
// order, and as (r, n-s), which verifies just as well, where it is not.
func lowS(der []byte) ([]byte, error) {
	var r, s big.Int
	input, rs := cryptobyte.String(der), cryptobyte.String(nil)
	if !input.ReadASN1(&rs, asn1.SEQUENCE) || !rs.ReadASN1Integer(&r) || !rs.ReadASN1Integer(&s) {
		return nil, fmt.Errorf("software: sign: %w", capsign.Internal)
	}
	if s.Cmp(halfOrder) <= 0 {
		return der, nil
	}
	s.Sub(elliptic.P256().Params().N, &s)
	var out cryptobyte.Builder
	out.AddASN1(asn1.SEQUENCE, func(out *cryptobyte.Builder) {
		out.AddASN1BigInt(&r)
		out.AddASN1BigInt(&s)
	})
	return out.BytesOrPanic(), nil
}
