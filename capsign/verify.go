package capsign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
)

// verify checks that sig is alg's canonical signature of msg by key. It wraps
// [SignatureInvalid] where it is not, and [UnsupportedAlg] where alg does not
// fit the key.
func verify(alg Alg, key crypto.PublicKey, msg, sig []byte) error {
	if !slices.Contains(algsOf(key), alg) {
		return fmt.Errorf("capsign: verify: %w", UnsupportedAlg)
	}
	valid := false
	switch k := key.(type) {
	case ed25519.PublicKey:
		valid = ed25519.Verify(k, msg, sig)
	case *ecdsa.PublicKey:
		valid = lowS(k, sig) && ecdsa.VerifyASN1(k, ecdsaDigest(alg, msg), sig)
	case *rsa.PublicKey:
		digest := sha256.Sum256(msg)
		if alg == PS256 {
			opts := &rsa.PSSOptions{SaltLength: sha256.Size}
			valid = rsa.VerifyPSS(k, crypto.SHA256, digest[:], sig, opts) == nil
		} else {
			valid = rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], sig) == nil
		}
	}
	if !valid {
		return fmt.Errorf("capsign: verify: %w", SignatureInvalid)
	}
	return nil
}

// ecdsaDigest returns the digest of msg that alg signs.
func ecdsaDigest(alg Alg, msg []byte) []byte {
	if alg == ES384 {
		sum := sha512.Sum384(msg)
		return sum[:]
	}
	sum := sha256.Sum256(msg)
	return sum[:]
}

// lowS reports whether the ECDSA signature's s is in the lower half of the
// order. Of the two signatures (r, s) and (r, n-s) that verify, cap releases
// and accepts only the lower, so that a signature has one encoding.
func lowS(key *ecdsa.PublicKey, sig []byte) bool {
	var rs struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(sig, &rs); err != nil || len(rest) != 0 {
		return false
	}
	half := new(big.Int).Rsh(key.Curve.Params().N, 1)
	return rs.S.Sign() > 0 && rs.S.Cmp(half) <= 0
}
