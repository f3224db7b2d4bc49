package software

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	encodingasn1 "encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/capsign/cap/capsign"
)

// The parsers below are stricter than crypto/x509, which ignores what follows
// a key and the public key that may be stored with it. A file that says two
// things about its key must be refused, not read in one of two ways.

var (
	oidEd25519     = encodingasn1.ObjectIdentifier{1, 3, 101, 112}
	oidECPublicKey = encodingasn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidP256        = encodingasn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}
)

var (
	tagContext0  = asn1.Tag(0).ContextSpecific().Constructed()
	tagContext1  = asn1.Tag(1).ContextSpecific().Constructed()
	tagPublicKey = asn1.Tag(1).ContextSpecific() // IMPLICIT BIT STRING
)

// parsePKCS8 parses the OneAsymmetricKey of RFC 5958, of which PKCS#8's
// PrivateKeyInfo is version 0:
//
//	SEQUENCE { INTEGER, AlgorithmIdentifier, OCTET STRING, [0] attributes?, [1] BIT STRING? }
func parsePKCS8(der []byte) (crypto.Signer, error) {
	input := cryptobyte.String(der)
	var seq, algorithm, private, public cryptobyte.String
	var oid encodingasn1.ObjectIdentifier
	var number int
	if !input.ReadASN1(&seq, asn1.SEQUENCE) || !input.Empty() ||
		!seq.ReadASN1Integer(&number) || number < 0 || number > 1 ||
		!seq.ReadASN1(&algorithm, asn1.SEQUENCE) || !algorithm.ReadASN1ObjectIdentifier(&oid) ||
		!seq.ReadASN1(&private, asn1.OCTET_STRING) ||
		!seq.SkipOptionalASN1(tagContext0) ||
		!readAttachedPublicKey(&seq, &public) || !seq.Empty() {
		return nil, capsign.KeyFileInvalid
	}
	switch {
	case oid.Equal(oidEd25519):
		return parseEd25519(algorithm, private, public)
	case oid.Equal(oidECPublicKey):
		return parseECPKCS8(algorithm, private, public)
	}
	return nil, capsign.UnsupportedAlg
}

// readAttachedPublicKey reads the optional public key at the end of a
// OneAsymmetricKey. Its tag is implicit; files of older versions of ring have
// an explicit one.
func readAttachedPublicKey(seq, public *cryptobyte.String) bool {
	if seq.PeekASN1Tag(tagContext1) {
		var explicit cryptobyte.String
		var bits []byte
		ok := seq.ReadASN1(&explicit, tagContext1) && explicit.ReadASN1BitStringAsBytes(&bits) && explicit.Empty()
		*public = bits
		return ok
	}
	var present bool
	var unused uint8
	if !seq.ReadOptionalASN1(public, &present, tagPublicKey) {
		return false
	}
	return !present || public.ReadUint8(&unused) && unused == 0 && len(*public) != 0
}

// parseEd25519 parses the CurvePrivateKey of RFC 8410, an OCTET STRING of the
// seed. The algorithm has no parameters.
func parseEd25519(params, private, public cryptobyte.String) (crypto.Signer, error) {
	var seed cryptobyte.String
	if !params.Empty() || !private.ReadASN1(&seed, asn1.OCTET_STRING) || !private.Empty() || len(seed) != ed25519.SeedSize {
		return nil, capsign.KeyFileInvalid
	}
	key := ed25519.NewKeyFromSeed(seed)
	if len(public) != 0 && !bytes.Equal(public, key[ed25519.SeedSize:]) {
		return nil, capsign.KeyFileInvalid
	}
	return key, nil
}

// parseECPKCS8 parses a SEC1 key whose curve stands in the algorithm.
func parseECPKCS8(params, private, public cryptobyte.String) (crypto.Signer, error) {
	var curve encodingasn1.ObjectIdentifier
	if !params.ReadASN1ObjectIdentifier(&curve) || !params.Empty() {
		return nil, capsign.KeyFileInvalid
	}
	key, err := parseECPrivateKey(private, curve)
	if err != nil {
		return nil, err
	}
	if len(public) != 0 && !isPublicKeyOf(key, public) {
		return nil, capsign.KeyFileInvalid
	}
	return key, nil
}

// parseSEC1 parses an ECPrivateKey on its own, which must name its curve.
func parseSEC1(der []byte) (crypto.Signer, error) {
	key, err := parseECPrivateKey(der, nil)
	if err != nil {
		return nil, err
	}
	return key, nil
}

// parseECPrivateKey parses the ECPrivateKey of RFC 5915:
//
//	SEQUENCE { INTEGER 1, OCTET STRING, [0] curve?, [1] BIT STRING? }
//
// The curve must be P-256. Where it is named twice, both must say so.
func parseECPrivateKey(der cryptobyte.String, curve encodingasn1.ObjectIdentifier) (*ecdsa.PrivateKey, error) {
	var seq, scalar, params cryptobyte.String
	var number int
	var named bool
	if !der.ReadASN1(&seq, asn1.SEQUENCE) || !der.Empty() ||
		!seq.ReadASN1Integer(&number) || number != 1 ||
		!seq.ReadASN1(&scalar, asn1.OCTET_STRING) ||
		!seq.ReadOptionalASN1(&params, &named, tagContext0) {
		return nil, capsign.KeyFileInvalid
	}
	if named {
		var inner encodingasn1.ObjectIdentifier
		if !params.ReadASN1ObjectIdentifier(&inner) || !params.Empty() || curve != nil && !inner.Equal(curve) {
			return nil, capsign.KeyFileInvalid
		}
		curve = inner
	}
	if curve == nil {
		return nil, capsign.KeyFileInvalid
	}
	if !curve.Equal(oidP256) {
		return nil, capsign.UnsupportedAlg
	}
	key, err := p256FromScalar(scalar)
	if err != nil {
		return nil, err
	}
	if seq.Empty() {
		return key, nil
	}
	var public cryptobyte.String
	if !seq.PeekASN1Tag(tagContext1) || !readAttachedPublicKey(&seq, &public) || !seq.Empty() || !isPublicKeyOf(key, public) {
		return nil, capsign.KeyFileInvalid
	}
	return key, nil
}

// p256FromScalar returns the key with a big-endian private scalar. RFC 5915
// wants 32 bytes; some programs drop leading zeros and others add one.
func p256FromScalar(scalar []byte) (*ecdsa.PrivateKey, error) {
	scalar = bytes.TrimLeft(scalar, "\x00")
	if len(scalar) > 32 {
		return nil, capsign.KeyFileInvalid
	}
	var padded [32]byte
	defer clear(padded[:])
	copy(padded[32-len(scalar):], scalar)
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), padded[:])
	if err != nil {
		return nil, capsign.KeyFileInvalid
	}
	return key, nil
}

// isPublicKeyOf reports whether point, compressed or not, is key's public one.
func isPublicKeyOf(key *ecdsa.PrivateKey, point []byte) bool {
	own, err := key.PublicKey.Bytes() // 0x04 || x || y
	if err != nil {
		return false
	}
	compressed := append([]byte{2 + own[64]&1}, own[1:33]...)
	return bytes.Equal(point, own) || bytes.Equal(point, compressed)
}
