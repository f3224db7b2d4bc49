package software

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/ecdsasig"
)

// version is one key version. It prints as REDACTED.
type version struct {
	key     capsign.Key
	private crypto.Signer // ed25519.PrivateKey or *ecdsa.PrivateKey of P-256
	shared  *sharedKey    // private once more, for batches; nil where they are signed one by one
}

// newVersion joins a private key with the name that makes its kid. Which
// version of the key it is, is left open.
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
	key.Class = capsign.ClassSoftware
	v := version{key: key, private: private}
	if private, ok := private.(ed25519.PrivateKey); ok {
		v.shared = newSharedKey(private)
	}
	return v, nil
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
		return ecdsasig.FromDER(elliptic.P256(), sig)
	}
	return nil, fmt.Errorf("software: sign: %w", capsign.Internal)
}

// wipe overwrites the private key where the standard library lets it be.
func (v version) wipe() {
	if private, ok := v.private.(ed25519.PrivateKey); ok {
		clear(private)
	}
	if v.shared != nil {
		v.shared.wipe()
	}
}
