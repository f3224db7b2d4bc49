package ecdsasig_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/ecdsasig"
)

// rs is an ECDSA signature as ASN.1 has it.
type rs struct{ R, S *big.Int }

func curves() map[string]elliptic.Curve {
	return map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384()}
}

// TestBothFormsOfOneSignatureAgree makes real signatures until r and s with
// leading zeros and with a high s have come up, and has the standard library
// verify what comes out.
func TestBothFormsOfOneSignatureAgree(t *testing.T) {
	for name, curve := range curves() {
		t.Run(name, func(t *testing.T) {
			key, err := ecdsa.GenerateKey(curve, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			digest := sha256.Sum256([]byte("message"))
			half := new(big.Int).Rsh(curve.Params().N, 1)
			var shortR, shortS, high bool
			for range 20000 {
				der, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
				if err != nil {
					t.Fatal(err)
				}
				sig := parse(t, der)
				shortR = shortR || sig.R.BitLen() <= curve.Params().BitSize-8
				shortS = shortS || sig.S.BitLen() <= curve.Params().BitSize-8
				high = high || sig.S.Cmp(half) > 0
				check(t, key, digest[:], der, sig)
				if shortR && shortS && high {
					return
				}
			}
			t.Errorf("did not come up: short r %v, short s %v, high s %v", shortR, shortS, high)
		})
	}
}

// check converts a signature from both forms.
func check(t *testing.T, key *ecdsa.PrivateKey, digest, der []byte, sig rs) {
	t.Helper()
	fromDER, err := ecdsasig.FromDER(key.Curve, der)
	if err != nil {
		t.Fatalf("FromDER(%x): %v", der, err)
	}
	fromRaw, err := ecdsasig.FromRaw(key.Curve, raw(key.Curve, sig))
	if err != nil {
		t.Fatalf("FromRaw: %v", err)
	}
	if !bytes.Equal(fromDER, fromRaw) {
		t.Fatalf("from DER %x, from raw %x", fromDER, fromRaw)
	}
	if !ecdsa.VerifyASN1(&key.PublicKey, digest, fromDER) {
		t.Fatalf("%x does not verify", fromDER)
	}
	if s := parse(t, fromDER).S; s.Cmp(new(big.Int).Sub(key.Curve.Params().N, s)) > 0 {
		t.Fatalf("%x has the higher s", fromDER)
	}
}

// TestForcedLeadingZeros converts signatures whose r or s is as small as it can
// be, or starts with zeros, or with a set bit.
func TestForcedLeadingZeros(t *testing.T) {
	for name, curve := range curves() {
		bits := uint(curve.Params().BitSize)
		small, short, set := big.NewInt(1), new(big.Int).Lsh(big.NewInt(1), bits-17), new(big.Int).Lsh(big.NewInt(1), bits-1)
		for _, sig := range []rs{{small, small}, {short, small}, {small, short}, {set, short}, {short, big.NewInt(0x80)}} {
			got, err := ecdsasig.FromRaw(curve, raw(curve, sig))
			want, _ := asn1.Marshal(sig)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: FromRaw(%v) = %x, %v; want %x", name, sig, got, err, want)
			}
			if again, err := ecdsasig.FromDER(curve, want); err != nil || !bytes.Equal(again, want) {
				t.Errorf("%s: FromDER(%x) = %x, %v", name, want, again, err)
			}
		}
	}
}

// TestTheEdgesOfS sets s where random signatures come nowhere near.
func TestTheEdgesOfS(t *testing.T) {
	for name, curve := range curves() {
		order := curve.Params().N
		half := new(big.Int).Rsh(order, 1)
		add := func(a *big.Int, b int64) *big.Int { return new(big.Int).Add(a, big.NewInt(b)) }
		for _, s := range []struct{ given, want *big.Int }{
			{half, half}, {add(half, 1), half}, {add(order, -1), big.NewInt(1)}, {add(order, -0x80), big.NewInt(0x80)},
		} {
			got, err := ecdsasig.FromRaw(curve, raw(curve, rs{add(order, -1), s.given}))
			if want, _ := asn1.Marshal(rs{add(order, -1), s.want}); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: s %x became %x, %v; want %x", name, s.given, got, err, want)
			}
		}
	}
}

func TestWhatIsNoSignatureIsRefused(t *testing.T) {
	curve := elliptic.P256()
	order, one, zero := curve.Params().N, big.NewInt(1), new(big.Int)
	for _, sig := range []rs{{zero, one}, {one, zero}, {order, one}, {one, order}} {
		_, err := ecdsasig.FromRaw(curve, raw(curve, sig))
		mustBeIntegrity(t, err, "raw", sig)
		der, _ := asn1.Marshal(sig)
		_, err = ecdsasig.FromDER(curve, der)
		mustBeIntegrity(t, err, "DER", sig)
	}
	for _, width := range []int{0, 1, 63, 65, 96, 128} {
		_, err := ecdsasig.FromRaw(curve, bytes.Repeat([]byte{1}, width))
		mustBeIntegrity(t, err, "width", width)
	}
	whole, _ := asn1.Marshal(rs{one, one})
	for name, der := range map[string][]byte{
		"empty": {}, "cut": whole[:len(whole)-1], "trailing": append(bytes.Clone(whole), 0),
		"three numbers":  {0x30, 9, 2, 1, 1, 2, 1, 1, 2, 1, 1},
		"leading zero":   {0x30, 7, 2, 2, 0, 1, 2, 1, 1},
		"negative":       {0x30, 6, 2, 1, 0xff, 2, 1, 1},
		"octet string":   {0x04, 6, 2, 1, 1, 2, 1, 1},
		"long form size": {0x30, 0x81, 6, 2, 1, 1, 2, 1, 1},
	} {
		_, err := ecdsasig.FromDER(curve, der)
		mustBeIntegrity(t, err, "DER", name)
	}
}

func mustBeIntegrity(t *testing.T, err error, what ...any) {
	t.Helper()
	if !errors.Is(err, capsign.Integrity) {
		t.Errorf("%v: %v, want %v", what, err, capsign.Integrity)
	}
}

// raw returns r and s side by side, as wide as the order.
func raw(curve elliptic.Curve, sig rs) []byte {
	width := (curve.Params().BitSize + 7) / 8
	out := make([]byte, 2*width)
	sig.R.FillBytes(out[:width])
	sig.S.FillBytes(out[width:])
	return out
}

func parse(t *testing.T, der []byte) (sig rs) {
	t.Helper()
	if rest, err := asn1.Unmarshal(der, &sig); err != nil || len(rest) != 0 {
		t.Fatalf("%x: %v", der, err)
	}
	return sig
}
