package software

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/capsign/cap/capsign"
)

// der encodes one ASN.1 value of at most 255 bytes, with its tag and its content
// in hex.
func der(tag string, content ...string) string {
	joined := strings.Join(content, "")
	length := fmt.Sprintf("%02x", len(joined)/2)
	if len(joined)/2 > 127 {
		length = "81" + length
	}
	return tag + length + joined
}

// parseHex parses a private key given as DER in hex.
func parseHex(t *testing.T, pemType, content string) (crypto.Signer, error) {
	t.Helper()
	raw, err := hex.DecodeString(content)
	must(t, err)
	return parsePlain(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: raw}))
}

// The parts of a P-256 key with the private scalar 1, whose public key is the
// curve's generator.
const (
	one        = "0000000000000000000000000000000000000000000000000000000000000001"
	generatorX = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
	generatorY = "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
	order      = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"
	namedP256  = "06082a8648ce3d030107"
	namedP384  = "06052b81040022"
)

func TestSEC1Variants(t *testing.T) {
	number, scalar, curve := der("02", "01"), der("04", one), der("a0", namedP256)
	public := der("a1", der("03", "00", "04", generatorX, generatorY))
	for name, file := range map[string]struct {
		der  string
		want error
	}{
		"whole":                     {der("30", number, scalar, curve, public), nil},
		"without public key":        {der("30", number, scalar, curve), nil},
		"compressed public key":     {der("30", number, scalar, curve, der("a1", der("03", "00", "03", generatorX))), nil},
		"scalar without zeros":      {der("30", number, der("04", "01"), curve), nil},
		"scalar with one zero more": {der("30", number, der("04", "00", one), curve), nil},
		"y of the other sign":       {der("30", number, scalar, curve, der("a1", der("03", "00", "02", generatorX))), capsign.KeyFileInvalid},
		"empty public key":          {der("30", number, scalar, curve, der("a1", der("03", "00"))), capsign.KeyFileInvalid},
		"public key with bits left": {der("30", number, scalar, curve, der("a1", der("03", "01", "04", generatorX, generatorY))), capsign.KeyFileInvalid},
		"no curve":                  {der("30", number, scalar), capsign.KeyFileInvalid},
		"another curve":             {der("30", number, scalar, der("a0", namedP384)), capsign.UnsupportedAlg},
		"two curves":                {der("30", number, scalar, der("a0", namedP256, namedP384)), capsign.KeyFileInvalid},
		"scalar zero":               {der("30", number, der("04", ""), curve), capsign.KeyFileInvalid},
		"scalar the order":          {der("30", number, der("04", order), curve), capsign.KeyFileInvalid},
		"scalar too long":           {der("30", number, der("04", "01", one), curve), capsign.KeyFileInvalid},
		"version 2":                 {der("30", der("02", "02"), scalar, curve), capsign.KeyFileInvalid},
		"something at the end":      {der("30", number, scalar, curve, der("05")), capsign.KeyFileInvalid},
		"something after public":    {der("30", number, scalar, curve, public, der("05")), capsign.KeyFileInvalid},
		"something after all":       {der("30", number, scalar, curve, public) + der("05"), capsign.KeyFileInvalid},
		"length in the long form":   {strings.Replace(der("30", number, scalar, curve), "30", "3081", 1), capsign.KeyFileInvalid},
	} {
		private, err := parseHex(t, "EC PRIVATE KEY", file.der)
		if !errors.Is(err, file.want) {
			t.Errorf("%s: %v, want %v", name, err, file.want)
		}
		if err == nil && hex.EncodeToString(pointOf(t, private)) != "04"+generatorX+generatorY {
			t.Errorf("%s: another public key", name)
		}
	}
}

// pointOf returns the public point of a P-256 key.
func pointOf(t *testing.T, private crypto.Signer) []byte {
	t.Helper()
	point, err := private.(*ecdsa.PrivateKey).PublicKey.Bytes()
	must(t, err)
	return point
}

func TestPKCS8Variants(t *testing.T) {
	const (
		seed    = "d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842"
		public  = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
		ed      = "06032b6570"
		ecKey   = "06072a8648ce3d0201"
		encoded = "04" + "20" + seed
	)
	v1, v2, ed25519 := der("02", "00"), der("02", "01"), der("30", ed)
	private, p256 := der("04", encoded), der("30", ecKey, namedP256)
	scalar := func(more ...string) string {
		return der("04", der("30", append([]string{der("02", "01"), der("04", one)}, more...)...))
	}
	for name, file := range map[string]struct {
		der  string
		want error
	}{
		"version 1":                      {der("30", v1, ed25519, private), nil},
		"version 2":                      {der("30", v2, ed25519, private, der("81", "00", public)), nil},
		"version 2 with attributes":      {der("30", v2, ed25519, private, der("a0"), der("81", "00", public)), nil},
		"public key as old ring wrote":   {der("30", v2, ed25519, private, der("a1", der("03", "00", public))), nil},
		"public key of another":          {der("30", v2, ed25519, private, der("81", "00", seed)), capsign.KeyFileInvalid},
		"old ring's, of another":         {der("30", v2, ed25519, private, der("a1", der("03", "00", seed))), capsign.KeyFileInvalid},
		"public key with bits left":      {der("30", v2, ed25519, private, der("81", "01", public)), capsign.KeyFileInvalid},
		"public key cut short":           {der("30", v2, ed25519, private, der("81", "00", public[2:])), capsign.KeyFileInvalid},
		"empty public key":               {der("30", v2, ed25519, private, der("81", "00")), capsign.KeyFileInvalid},
		"version 3":                      {der("30", der("02", "02"), ed25519, private), capsign.KeyFileInvalid},
		"negative version":               {der("30", der("02", "ff"), ed25519, private), capsign.KeyFileInvalid},
		"algorithm with parameters":      {der("30", v1, der("30", ed, der("05")), private), capsign.KeyFileInvalid},
		"short seed":                     {der("30", v1, ed25519, der("04", der("04", seed[2:]))), capsign.KeyFileInvalid},
		"bytes after the seed":           {der("30", v1, ed25519, der("04", encoded, "00")), capsign.KeyFileInvalid},
		"something at the end":           {der("30", v1, ed25519, private, der("05")), capsign.KeyFileInvalid},
		"something after all":            {der("30", v1, ed25519, private) + der("05"), capsign.KeyFileInvalid},
		"P-256":                          {der("30", v1, p256, scalar()), nil},
		"P-256 named twice":              {der("30", v1, p256, scalar(der("a0", namedP256))), nil},
		"P-256 with public key outside":  {der("30", v2, p256, scalar(), der("81", "00", "04", generatorX, generatorY)), nil},
		"P-256 with another's outside":   {der("30", v2, p256, scalar(), der("81", "00", "04", generatorX, generatorX)), capsign.KeyFileInvalid},
		"P-256 and P-384":                {der("30", v1, p256, scalar(der("a0", namedP384))), capsign.KeyFileInvalid},
		"P-384":                          {der("30", v1, der("30", ecKey, namedP384), scalar()), capsign.UnsupportedAlg},
		"P-256 without a curve outside":  {der("30", v1, der("30", ecKey), scalar(der("a0", namedP256))), capsign.KeyFileInvalid},
		"P-256 with bytes after the key": {der("30", v1, p256, der("04", der("30", der("02", "01"), der("04", one)), "00")), capsign.KeyFileInvalid},
	} {
		if _, err := parseHex(t, "PRIVATE KEY", file.der); !errors.Is(err, file.want) {
			t.Errorf("%s: %v, want %v", name, err, file.want)
		}
	}
}

// FuzzParseKeyFile holds the parser to crypto/x509, which is laxer: what the
// parser accepts, the library accepts as the same key.
func FuzzParseKeyFile(f *testing.F) {
	for _, name := range []string{"rfc8410-v1.pem", "rfc8410-v2.pem", "p256.pem", "p256-sec1.pem"} {
		f.Add(testdata(f, name))
		f.Add(derOf(f, name))
	}
	f.Add(testdata(f, "rfc8410.age.pem"))
	f.Fuzz(func(t *testing.T, data []byte) {
		private, err := parseKeyFile(data, nil)
		if err != nil {
			if code, ok := errors.AsType[capsign.Code](err); !ok || !code.Known() || private != nil {
				t.Fatalf("refused with %v, %v", private, err)
			}
			return
		}
		der := data
		if block, _ := pem.Decode(data); block != nil {
			der = block.Bytes
		}
		library, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			library, err = x509.ParseECPrivateKey(der)
		}
		if err != nil {
			t.Fatalf("crypto/x509 refuses what was accepted: %v", err)
		}
		switch key := private.(type) {
		case ed25519.PrivateKey:
			if !key.Equal(library.(ed25519.PrivateKey)) {
				t.Fatal("crypto/x509 reads another key")
			}
		case *ecdsa.PrivateKey:
			if !key.Equal(library) {
				t.Fatal("crypto/x509 reads another key")
			}
		}
		if _, err := newVersion(private, "fuzz"); err != nil {
			t.Fatalf("a key without a kid: %v", err)
		}
	})
}
