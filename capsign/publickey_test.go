package capsign_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"testing"

	"github.com/capsign/cap/capsign"
)

// der encodes one ASN.1 value.
func der(tag byte, content ...[]byte) []byte {
	joined := slices.Concat(content...)
	length := []byte{byte(len(joined))}
	switch {
	case len(joined) > 255:
		length = []byte{0x82, byte(len(joined) >> 8), byte(len(joined))}
	case len(joined) > 127:
		length = []byte{0x81, byte(len(joined))}
	}
	return slices.Concat([]byte{tag}, length, joined)
}

// The object identifiers of key types and curves.
const (
	oidEd25519   = "06032b6570"
	oidX25519    = "06032b656e"
	oidECKey     = "06072a8648ce3d0201"
	oidP224      = "06052b81040021"
	oidP256      = "06082a8648ce3d030107"
	oidP521      = "06052b81040023"
	oidSecp256k1 = "06052b8104000a"
	oidRSA       = "06092a864886f70d010101"
	oidRSAPSS    = "06092a864886f70d01010a"
)

// spkiOf builds a SubjectPublicKeyInfo from the algorithm, in hex, and the key.
func spkiOf(t testing.TB, algorithm string, key []byte) []byte {
	t.Helper()
	return der(0x30, der(0x30, unhex(t, algorithm)), der(0x03, []byte{0}, key))
}

// rsaSPKI builds the SubjectPublicKeyInfo of an RSA key with modulus 2^(bits-1)+1.
func rsaSPKI(t testing.TB, algorithm string, bits int) []byte {
	t.Helper()
	n := new(big.Int).SetBit(big.NewInt(1), bits-1, 1)
	key := der(0x30, der(0x02, n.FillBytes(make([]byte, bits/8+1))), der(0x02, []byte{1, 0, 1}))
	return spkiOf(t, algorithm, key)
}

// generatorOf returns a curve's generator as an uncompressed point.
func generatorOf(curve elliptic.Curve) []byte {
	size := (curve.Params().BitSize + 7) / 8
	point := make([]byte, 1+2*size)
	point[0] = 4
	curve.Params().Gx.FillBytes(point[1 : 1+size])
	curve.Params().Gy.FillBytes(point[1+size:])
	return point
}

// The builders must build what is accepted, or the refusals prove nothing.
func TestPublicKeysThatAreAccepted(t *testing.T) {
	p256 := generatorOf(elliptic.P256())
	for name, spki := range map[string][]byte{
		"Ed25519":  unhex(t, rfc8410SPKI),
		"P-256":    spkiOf(t, oidECKey+oidP256, p256),
		"P-384":    spkiOf(t, oidECKey+"06052b81040022", generatorOf(elliptic.P384())),
		"RSA-3072": rsaSPKI(t, oidRSA+"0500", 3072),
		"RSA-4096": rsaSPKI(t, oidRSA+"0500", 4096),
	} {
		key, err := capsign.ParsePublicKey(spki)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again, err := capsign.MarshalPublicKey(key); err != nil || !bytes.Equal(again, spki) {
			t.Errorf("%s became %x, %v", name, again, err)
		}
	}
}

func TestPublicKeysThatAreRefused(t *testing.T) {
	ed := unhex(t, rfc8410SPKI)
	point := generatorOf(elliptic.P256())
	p256 := spkiOf(t, oidECKey+oidP256, point)
	rsa3072 := rsaSPKI(t, oidRSA+"0500", 3072)
	offCurve := bytes.Clone(point)
	offCurve[64] ^= 1
	for name, refused := range map[string]struct {
		spki []byte
		want capsign.Code
	}{
		"empty":                         {nil, capsign.BadRequest},
		"bytes after Ed25519":           {append(bytes.Clone(ed), 0), capsign.BadRequest},
		"bytes after P-256":             {append(bytes.Clone(p256), 0), capsign.BadRequest},
		"bytes after RSA":               {append(bytes.Clone(rsa3072), 0), capsign.BadRequest},
		"provider id after":             {append(bytes.Clone(ed), "software"...), capsign.BadRequest},
		"cut short":                     {ed[:len(ed)-1], capsign.BadRequest},
		"long form of a short length":   {slices.Concat([]byte{0x30, 0x81, 0x2a}, ed[2:]), capsign.BadRequest},
		"indefinite length":             {slices.Concat([]byte{0x30, 0x80}, ed[2:], []byte{0, 0}), capsign.BadRequest},
		"something inside at the end":   {der(0x30, ed[2:], []byte{5, 0}), capsign.BadRequest},
		"unused bits":                   {der(0x30, der(0x30, unhex(t, oidEd25519)), der(0x03, []byte{1}, ed[12:])), capsign.BadRequest},
		"Ed25519 with parameters":       {spkiOf(t, oidEd25519+"0500", ed[12:]), capsign.BadRequest},
		"Ed25519 of 31 bytes":           {spkiOf(t, oidEd25519, ed[13:]), capsign.BadRequest},
		"Ed25519 of 33 bytes":           {spkiOf(t, oidEd25519, append(bytes.Clone(ed[12:]), 0)), capsign.BadRequest},
		"X25519":                        {spkiOf(t, oidX25519, ed[12:]), capsign.UnsupportedAlg},
		"compressed point":              {spkiOf(t, oidECKey+oidP256, append([]byte{3}, point[1:33]...)), capsign.BadRequest},
		"hybrid point":                  {spkiOf(t, oidECKey+oidP256, append([]byte{7}, point[1:]...)), capsign.BadRequest},
		"point at infinity":             {spkiOf(t, oidECKey+oidP256, []byte{0}), capsign.BadRequest},
		"point off the curve":           {spkiOf(t, oidECKey+oidP256, offCurve), capsign.BadRequest},
		"P-256 point, no curve":         {spkiOf(t, oidECKey, point), capsign.BadRequest},
		"P-224":                         {spkiOf(t, oidECKey+oidP224, generatorOf(elliptic.P224())), capsign.UnsupportedAlg},
		"P-521":                         {spkiOf(t, oidECKey+oidP521, generatorOf(elliptic.P521())), capsign.UnsupportedAlg},
		"secp256k1":                     {spkiOf(t, oidECKey+oidSecp256k1, point), capsign.BadRequest},
		"RSA-1024":                      {rsaSPKI(t, oidRSA+"0500", 1024), capsign.UnsupportedAlg},
		"RSA-2048":                      {rsaSPKI(t, oidRSA+"0500", 2048), capsign.UnsupportedAlg},
		"RSA-3071":                      {rsaSPKI(t, oidRSA+"0500", 3071), capsign.UnsupportedAlg},
		"RSA without NULL parameters":   {rsaSPKI(t, oidRSA, 3072), capsign.BadRequest},
		"RSA that is only good for PSS": {rsaSPKI(t, oidRSAPSS, 3072), capsign.BadRequest},
		"certificate's first byte":      {[]byte{0x30}, capsign.BadRequest},
	} {
		key, err := capsign.ParsePublicKey(refused.spki)
		if key != nil || !errors.Is(err, refused.want) {
			t.Errorf("%s: ParsePublicKey = %v, %v; want %v", name, key, err, refused.want)
		}
	}
}

// smallOrderPoints are the encodings of the eight points of small order that
// Go's decoder takes: the canonical ones, and those whose y is not reduced.
var smallOrderPoints = []string{
	"0100000000000000000000000000000000000000000000000000000000000000",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
	"0100000000000000000000000000000000000000000000000000000000000080",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
}

// Under a key of small order, anybody's signature verifies: the library takes
// one that nobody made, and cap refuses the key.
func TestSmallOrderKeysAreRefused(t *testing.T) {
	for _, point := range smallOrderPoints {
		public := unhex(t, point)
		if !forgeable(t, public) {
			t.Errorf("%s: the library accepts no forgery, so this is no point of small order", point)
		}
		if _, err := capsign.ParsePublicKey(slices.Concat(unhex(t, rfc8410Prefix), public)); !errors.Is(err, capsign.UnsupportedAlg) {
			t.Errorf("%s: %v, want %v", point, err, capsign.UnsupportedAlg)
		}
		if _, err := capsign.MarshalPublicKey(ed25519.PublicKey(public)); !errors.Is(err, capsign.UnsupportedAlg) {
			t.Errorf("%s: marshalled with %v, want %v", point, err, capsign.UnsupportedAlg)
		}
	}
}

// forgeable reports whether the library accepts a signature with S = 0 and R of
// small order for one of a few messages.
func forgeable(t *testing.T, public ed25519.PublicKey) bool {
	for message := range 64 {
		for _, r := range smallOrderPoints[:8] {
			sig := append(unhex(t, r), make([]byte, 32)...)
			if ed25519.Verify(public, []byte{byte(message)}, sig) {
				return true
			}
		}
	}
	return false
}

func TestUnknownKeyTypesAreNotMarshalled(t *testing.T) {
	for _, key := range []any{nil, "key", ed25519.PrivateKey{}, ed25519.PublicKey("short"), &rsa.PublicKey{N: big.NewInt(15), E: 3}} {
		if spki, err := capsign.MarshalPublicKey(key); spki != nil || !errors.Is(err, capsign.UnsupportedAlg) {
			t.Errorf("MarshalPublicKey(%T) = %x, %v; want %v", key, spki, err, capsign.UnsupportedAlg)
		}
	}
}

// The example of RFC 7638, section 3.1.
const rfc7638Modulus = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"

func TestThumbprintsAsPublished(t *testing.T) {
	modulus, err := base64.RawURLEncoding.DecodeString(rfc7638Modulus)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 65537}
	if got, want := capsign.Thumbprint(rsaKey), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"; got != want {
		t.Errorf("RFC 7638: %s, want %s", got, want)
	}
	// RFC 8037, appendix A.3.
	edKey := ed25519.PublicKey(unhex(t, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"))
	if got, want := capsign.Thumbprint(edKey), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"; got != want {
		t.Errorf("RFC 8037: %s, want %s", got, want)
	}
	if got := capsign.Thumbprint("no key"); got != "" {
		t.Errorf("thumbprint of no key: %s", got)
	}
}

// RFC 7518, section 6.2.1.2: a coordinate keeps its leading zeros.
func TestThumbprintKeepsLeadingZeros(t *testing.T) {
	key := keyWithShortX(t)
	point, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	members, err := json.Marshal(map[string]string{ // in lexicographic order
		"crv": "P-256", "kty": "EC",
		"x": base64.RawURLEncoding.EncodeToString(point[1:33]),
		"y": base64.RawURLEncoding.EncodeToString(point[33:]),
	})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(members)
	if got, want := capsign.Thumbprint(key), base64.RawURLEncoding.EncodeToString(sum[:]); got != want {
		t.Errorf("thumbprint %s, want %s", got, want)
	}
}

// keyWithShortX returns a P-256 key whose x begins with a zero byte.
func keyWithShortX(t *testing.T) *ecdsa.PublicKey {
	t.Helper()
	for scalar := range 10_000 {
		private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), big.NewInt(int64(scalar)+1).FillBytes(make([]byte, 32)))
		if err != nil {
			t.Fatal(err)
		}
		if point, err := private.PublicKey.Bytes(); err == nil && point[1] == 0 {
			return &private.PublicKey
		}
	}
	t.Fatal("no key with a short x")
	return nil
}

func TestSPKIFingerprint(t *testing.T) {
	spki := unhex(t, rfc8410SPKI)
	sum := sha256.Sum256(spki)
	if got, want := capsign.SPKISHA256(spki), hex.EncodeToString(sum[:]); got != want {
		t.Errorf("SPKISHA256 = %s, want %s", got, want)
	}
}

// FuzzParsePublicKey holds that what is accepted has one encoding and one kid.
func FuzzParsePublicKey(f *testing.F) {
	f.Add(unhex(f, rfc8410SPKI))
	f.Add(spkiOf(f, oidECKey+oidP256, generatorOf(elliptic.P256())))
	f.Add(rsaSPKI(f, oidRSA+"0500", 3072))
	f.Fuzz(func(t *testing.T, spki []byte) {
		key, err := capsign.ParsePublicKey(spki)
		if err != nil {
			if !errors.Is(err, capsign.BadRequest) && !errors.Is(err, capsign.UnsupportedAlg) {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		if again, err := x509.MarshalPKIXPublicKey(key); err != nil || !bytes.Equal(again, spki) {
			t.Fatalf("accepted %x, which is %x (%v)", spki, again, err)
		}
		if _, err := capsign.KID(spki, capsign.ProviderSoftware, "fuzz"); err != nil {
			t.Fatalf("a key without a kid: %v", err)
		}
		if capsign.Thumbprint(key) == "" {
			t.Fatal("a key without a thumbprint")
		}
	})
}
