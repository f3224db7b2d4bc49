package pkcs11

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/capsign/cap/capsign"
)

func TestReturnValues(t *testing.T) {
	for value, want := range map[rv]verdict{
		0x30:       {"DEVICE_ERROR", device, capsign.ProviderUnavailable},
		0x32:       {"DEVICE_REMOVED", device, capsign.TokenAbsent},
		0x82:       {"OBJECT_HANDLE_INVALID", login, capsign.ProviderUnavailable},
		0x101:      {"USER_NOT_LOGGED_IN", login, capsign.ProviderUnavailable},
		0xA0:       {"PIN_INCORRECT", fatal, capsign.PINIncorrect},
		0xA4:       {"PIN_LOCKED", fatal, capsign.TokenLocked},
		0x102:      {"USER_PIN_NOT_INITIALIZED", fatal, capsign.TokenAbsent},
		0xB3:       {"SESSION_HANDLE_INVALID", session, capsign.ProviderUnavailable},
		0x70:       {"MECHANISM_INVALID", fatal, capsign.UnsupportedAlg},
		0x80000001: {"VENDOR_DEFINED", device, capsign.ProviderUnavailable},
		0x777:      {"", fatal, capsign.ProviderUnavailable},
	} {
		if got := value.verdict(); got != want {
			t.Errorf("0x%X means %v, want %v", uint(value), got, want)
		}
	}
	for value, v := range verdicts {
		if !v.code.Known() || v.name == "" || v.name != strings.ToUpper(v.name) {
			t.Errorf("0x%X means %v", uint(value), v)
		}
		if retried := v.class != fatal; retried && !v.code.Retryable() {
			t.Errorf("0x%X is tried again and says %s, which is for good", uint(value), v.code)
		}
	}
}

func TestErrorsCarryNothingOfTheVendors(t *testing.T) {
	err := refuse("sign", callError{"C_Sign", 0x32})
	if got, want := err.Error(), "pkcs11: sign: token_absent"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	if _, ok := errors.AsType[callError](err); ok {
		t.Error("the call is still in the error")
	}
	if code := codeOf(errors.New("anything else")); code != capsign.Internal {
		t.Errorf("an unclassified error is %s", code)
	}
}

func TestPointsAreToldByTheirLength(t *testing.T) {
	group := func(alg capsign.Alg) curve {
		return curves[slices.IndexFunc(curves, func(c curve) bool { return c.alg == alg })]
	}
	ed := bytes.Repeat([]byte{0x04}, 32)
	ed[1] = 0x1e // a raw point that begins like DER
	p256, p384 := uncompressed(t, elliptic.P256()), uncompressed(t, elliptic.P384())
	for name, tt := range map[string]struct {
		alg   capsign.Alg
		value []byte
		point []byte // nil: refused
	}{
		"Ed25519 raw":          {capsign.Ed25519, ed, ed},
		"Ed25519 octets":       {capsign.Ed25519, slices.Concat([]byte{0x04, 0x20}, ed), ed},
		"Ed25519 bits":         {capsign.Ed25519, slices.Concat([]byte{0x03, 0x21, 0x00}, ed), ed},
		"Ed25519 short":        {capsign.Ed25519, ed[:31], nil},
		"Ed25519 other tag":    {capsign.Ed25519, slices.Concat([]byte{0x05, 0x20}, ed), nil},
		"Ed25519 other length": {capsign.Ed25519, slices.Concat([]byte{0x04, 0x1f}, ed), nil},
		"P-256 raw":            {capsign.ES256, p256, p256},
		"P-256 octets":         {capsign.ES256, slices.Concat([]byte{0x04, 0x41}, p256), p256},
		"P-256 off the curve":  {capsign.ES256, slices.Concat(p256[:64], []byte{p256[64] ^ 1}), nil},
		"P-256 compressed":     {capsign.ES256, slices.Concat([]byte{0x02}, p256[1:33]), nil},
		"P-256 bits":           {capsign.ES256, slices.Concat([]byte{0x03, 0x42, 0x00}, p256), nil},
		"P-256 with a byte on": {capsign.ES256, slices.Concat(p256, []byte{0}), nil},
		"P-256 nothing":        {capsign.ES256, nil, nil},
		"P-384 raw":            {capsign.ES384, p384, p384},
		"P-384 octets":         {capsign.ES384, slices.Concat([]byte{0x04, 0x61}, p384), p384},
		"P-384 of P-256":       {capsign.ES384, p256, nil},
	} {
		public, err := group(tt.alg).publicKey(tt.value)
		if tt.point == nil {
			if !errors.Is(err, capsign.Integrity) {
				t.Errorf("%s: %v, want %s", name, err, capsign.Integrity)
			}
			continue
		}
		var got []byte
		switch key := public.(type) {
		case ed25519.PublicKey:
			got = key
		case *ecdsa.PublicKey:
			got, err = key.Bytes()
		}
		if err != nil || !bytes.Equal(got, tt.point) {
			t.Errorf("%s: %x, %v, want %x", name, got, err, tt.point)
		}
	}
}

// uncompressed returns a point of the curve.
func uncompressed(t *testing.T, group elliptic.Curve) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(group, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return point
}

func TestCurvesByObjectIdentifierAndName(t *testing.T) {
	for _, c := range curves {
		for _, params := range [][]byte{c.oid, append([]byte{0x13, byte(len(c.names[0]))}, c.names[0]...)} {
			if got, err := curveOf(c.keyType, params); err != nil || got.alg != c.alg {
				t.Errorf("%x is %s, %v, want %s", params, got.alg, err, c.alg)
			}
		}
	}
	for _, params := range [][]byte{nil, {0x05, 0x00}, {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23}, curves[0].oid[:9]} {
		if _, err := curveOf(ckkEC, params); !errors.Is(err, capsign.UnsupportedAlg) {
			t.Errorf("%x: %v, want %s", params, err, capsign.UnsupportedAlg)
		}
	}
	if _, err := curveOf(ckkECEdwards, curves[0].oid); err == nil {
		t.Error("P-256 was taken for an Edwards curve")
	}
}

func TestRSAKeys(t *testing.T) {
	if _, err := rsaKey([]byte{0, 0xff, 0x01}, []byte{0, 1, 0, 1}); err != nil {
		t.Errorf("exponent 65537: %v", err)
	}
	for _, exponent := range [][]byte{nil, {1}, {1, 0}, {1, 0, 0, 0, 1}, bytes.Repeat([]byte{0xff}, 9)} {
		if _, err := rsaKey([]byte{0xff}, exponent); !errors.Is(err, capsign.UnsupportedAlg) {
			t.Errorf("exponent %x: %v", exponent, err)
		}
	}
}

func TestWhatATokenIsAskedToSign(t *testing.T) {
	msg := []byte("a message")
	digest := sha256.Sum256(msg)
	ed, err := signing(capsign.Ed25519, msg)
	if err != nil || ed.mechanism != ckmEdDSA || !bytes.Equal(ed.data, msg) || &ed.data[0] == &msg[0] {
		t.Errorf("Ed25519: %v, %v; want a copy of the message", ed, err)
	}
	es, err := signing(capsign.ES256, msg)
	if err != nil || es.mechanism != ckmECDSA || !bytes.Equal(es.data, digest[:]) {
		t.Errorf("ES256: %v, %v", es, err)
	}
	rs, err := signing(capsign.RS256, msg)
	if err != nil || rs.mechanism != ckmRSAPKCS || len(rs.data) != 51 || !bytes.HasSuffix(rs.data, digest[:]) {
		t.Errorf("RS256: %v, %v", rs, err)
	}
	ps, err := signing(capsign.PS256, msg)
	if err != nil || !bytes.Equal(ps.parameter, slices.Concat(ulong(0x250), ulong(2), ulong(32))) {
		t.Errorf("PS256: %v, %v", ps, err)
	}
	if _, err := signing("none", msg); !errors.Is(err, capsign.UnsupportedAlg) {
		t.Errorf("no algorithm: %v", err)
	}
}

func TestSignaturesOfAnotherWidthAreRefused(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := capsign.MarshalPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	pinned, err := capsign.NewKey(capsign.PS256, spki, capsign.ProviderPKCS11, keyNameForCodecs)
	if err != nil {
		t.Fatal(err)
	}
	for width, ok := range map[int]bool{0: false, 64: false, 383: false, 384: true, 385: false} {
		if _, err := canonical(pinned, make([]byte, width)); (err == nil) != ok {
			t.Errorf("RSA-3072 with %d bytes: %v", width, err)
		}
	}
	if _, err := canonical(capsign.Key{Alg: capsign.Ed25519}, make([]byte, 63)); !errors.Is(err, capsign.Integrity) {
		t.Errorf("Ed25519 with 63 bytes: %v", err)
	}
	half := new(big.Int).Rsh(elliptic.P256().Params().N, 1).Bytes()
	if _, err := canonical(capsign.Key{Alg: capsign.ES256}, append(half, half...)); err != nil {
		t.Errorf("ES256: %v", err)
	}
}

const keyNameForCodecs = "cap-signing"

func TestVersionNumbers(t *testing.T) {
	for label, want := range map[string]int{
		"k": 1, "k.2": 2, "k.10": 10, "k.1": 0, "k.0": 0, "k.-2": 0, "k.02": 0, "k.+2": 0, "k.2x": 0, "k.": 0,
		"kk": 0, "": 0, "k.99999999999999999999": 0, "k.2.3": 0,
	} {
		if got := versionNumber("k", label); got != want {
			t.Errorf("%q is version %d, want %d", label, got, want)
		}
		if want > 0 && versionLabel("k", want) != label {
			t.Errorf("version %d is labelled %q, want %q", want, versionLabel("k", want), label)
		}
	}
}
