package capsign

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
)

// Alg is a signature algorithm under its JOSE name (RFC 7518, RFC 9864).
type Alg string

// The algorithms, each with the one encoding its signatures have in cap.
const (
	Ed25519 Alg = "Ed25519" // RFC 8032 pure Ed25519, 64 bytes
	ES256   Alg = "ES256"   // ECDSA P-256 with SHA-256, ASN.1 DER, low S
	ES384   Alg = "ES384"   // ECDSA P-384 with SHA-384, ASN.1 DER, low S
	PS256   Alg = "PS256"   // RSASSA-PSS with SHA-256, salt of 32 bytes
	RS256   Alg = "RS256"   // RSASSA-PKCS1-v1_5 with SHA-256
)

// minRSABits is the shortest RSA modulus that cap accepts.
const minRSABits = 3072

// ParsePublicKey parses a DER SubjectPublicKeyInfo. It accepts only the
// canonical encoding, the bytes that marshalling the key again gives, and only
// key types that have an [Alg]: Ed25519, ECDSA P-256 and P-384, RSA of at least
// 3072 bits. Anything else wraps [BadRequest] or [UnsupportedAlg].
func ParsePublicKey(spki []byte) (crypto.PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, fmt.Errorf("capsign: public key: %w", BadRequest)
	}
	again, err := x509.MarshalPKIXPublicKey(key)
	if err != nil || !bytes.Equal(spki, again) {
		return nil, fmt.Errorf("capsign: public key is not canonical DER: %w", BadRequest)
	}
	if len(algsOf(key)) == 0 {
		return nil, fmt.Errorf("capsign: public key: %w", UnsupportedAlg)
	}
	return key, nil
}

// MarshalPublicKey returns the canonical DER SubjectPublicKeyInfo of key.
func MarshalPublicKey(key crypto.PublicKey) ([]byte, error) {
	if len(algsOf(key)) == 0 {
		return nil, fmt.Errorf("capsign: public key: %w", UnsupportedAlg)
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("capsign: public key: %w", BadRequest)
	}
	return spki, nil
}

// algsOf returns the algorithms that key can be used with, the usual one first.
func algsOf(key crypto.PublicKey) []Alg {
	switch k := key.(type) {
	case ed25519.PublicKey:
		if len(k) == ed25519.PublicKeySize && !smallOrder(k) {
			return []Alg{Ed25519}
		}
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return []Alg{ES256}
		case elliptic.P384():
			return []Alg{ES384}
		}
	case *rsa.PublicKey:
		if k.N.BitLen() >= minRSABits {
			return []Alg{PS256, RS256}
		}
	}
	return nil
}

// smallOrder reports whether key encodes one of the eight points of small
// order, under which anybody can make signatures: their y coordinates are 0, 1,
// -1 and the two that belong to points of order eight.
func smallOrder(key ed25519.PublicKey) bool {
	y := bytes.Clone(key)
	y[31] &= 0x7f // the sign of x
	for _, low := range smallOrderY {
		if hex.EncodeToString(y) == low {
			return true
		}
	}
	return false
}

// smallOrderY lists the little-endian y coordinates of the points of small
// order on edwards25519, with their non-canonical encodings.
var smallOrderY = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// SPKISHA256 returns the hex SHA-256 of a DER SubjectPublicKeyInfo, the
// fingerprint that openssl and sigstore show for a key.
func SPKISHA256(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}

// Thumbprint returns the JWK thumbprint of key (RFC 7638, SHA-256, base64url
// without padding), or "" for a key type that cap does not know.
func Thumbprint(key crypto.PublicKey) string {
	b64 := base64.RawURLEncoding.EncodeToString
	var members string // the required ones, in lexicographic order
	switch k := key.(type) {
	case ed25519.PublicKey:
		members = fmt.Sprintf(`{"crv":"Ed25519","kty":"OKP","x":"%s"}`, b64(k))
	case *ecdsa.PublicKey:
		x, y := coordinates(k)
		members = fmt.Sprintf(`{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`, k.Curve.Params().Name, b64(x), b64(y))
	case *rsa.PublicKey:
		members = fmt.Sprintf(`{"e":"%s","kty":"RSA","n":"%s"}`, b64(big.NewInt(int64(k.E)).Bytes()), b64(k.N.Bytes()))
	default:
		return ""
	}
	sum := sha256.Sum256([]byte(members))
	return b64(sum[:])
}

// coordinates returns the point's x and y, each as long as the curve's field.
func coordinates(key *ecdsa.PublicKey) (x, y []byte) {
	point, err := key.Bytes() // 0x04 || x || y
	if err != nil {
		return nil, nil
	}
	half := (len(point) - 1) / 2
	return point[1 : 1+half], point[1+half:]
}
