package capsign_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"github.com/capsign/cap/capsign"
)

// verifyVector is an entry of verify_vectors.json.
type verifyVector struct {
	Alg       capsign.Alg `json:"alg"`
	SPKI      string      `json:"spki"`
	Message   string      `json:"message"`
	Signature string      `json:"signature"`
	// Refused are signatures of the same message by the same key that are not
	// the algorithm's, by what is wrong with them.
	Refused map[string]string `json:"refused"`
}

// signed is a message that the openssl program signed.
type signed struct {
	key      capsign.Key
	msg, sig []byte
	refused  map[string]string
}

// readSigned returns the signatures of testdata/verify_vectors.py.
func readSigned(t testing.TB) []signed {
	t.Helper()
	var vectors []verifyVector
	readVectors(t, "verify_vectors.json", &vectors)
	all := make([]signed, len(vectors))
	for i, v := range vectors {
		key, err := capsign.NewKey(v.Alg, unhex(t, v.SPKI), capsign.ProviderSoftware, "vector")
		if err != nil {
			t.Fatalf("%s: %v", v.Alg, err)
		}
		all[i] = signed{key, unhex(t, v.Message), unhex(t, v.Signature), v.Refused}
	}
	return all
}

// signedWith returns the last of the vectors for alg.
func signedWith(t testing.TB, alg capsign.Alg) signed {
	t.Helper()
	for _, s := range slices.Backward(readSigned(t)) {
		if s.key.Alg == alg {
			return s
		}
	}
	t.Fatalf("no vector for %s", alg)
	return signed{}
}

// mustRefuse says that sig is not taken for the message's signature.
func (s signed) mustRefuse(t *testing.T, what string, sig []byte) {
	t.Helper()
	if err := s.key.Verify(s.msg, sig); !errors.Is(err, capsign.SignatureInvalid) {
		t.Errorf("%s, %s: Verify = %v, want %v", s.key.Alg, what, err, capsign.SignatureInvalid)
	}
}

func TestSignaturesOfOpenSSLVerify(t *testing.T) {
	algs := make(map[capsign.Alg]bool)
	for _, s := range readSigned(t) {
		if err := s.key.Verify(s.msg, s.sig); err != nil {
			t.Errorf("%s: %v", s.key.Alg, err)
		}
		algs[s.key.Alg] = true
	}
	if len(algs) != 5 {
		t.Errorf("vectors for %v only", algs)
	}
}

func TestEachFlippedBitIsRefused(t *testing.T) {
	for i, s := range readSigned(t) {
		t.Run(fmt.Sprint(s.key.Alg, i), func(t *testing.T) {
			t.Parallel()
			for bit := range 8 * len(s.sig) {
				sig := bytes.Clone(s.sig)
				sig[bit/8] ^= 1 << (bit % 8)
				s.mustRefuse(t, "flipped bit", sig)
			}
			for bit := range 8 * len(s.msg) {
				other := signed{key: s.key, msg: bytes.Clone(s.msg)}
				other.msg[bit/8] ^= 1 << (bit % 8)
				other.mustRefuse(t, "flipped bit of the message", s.sig)
			}
		})
	}
}

func TestSignaturesOfAnotherLengthAreRefused(t *testing.T) {
	for _, s := range readSigned(t) {
		s.mustRefuse(t, "nothing", nil)
		s.mustRefuse(t, "one byte more", append(bytes.Clone(s.sig), 0))
		s.mustRefuse(t, "one byte before", append([]byte{0}, s.sig...))
		s.mustRefuse(t, "twice", append(bytes.Clone(s.sig), s.sig...))
		for length := range len(s.sig) {
			s.mustRefuse(t, "cut short", s.sig[:length])
		}
	}
}

func TestSignaturesOfOtherKeysAreRefused(t *testing.T) {
	all := readSigned(t)
	for i, s := range all {
		for j, other := range all {
			if i != j {
				s.mustRefuse(t, "a signature with "+string(other.key.Alg), other.sig)
			}
		}
	}
}

// The algorithm fixes the digest, the padding and the salt.
func TestSignaturesWithOtherParametersAreRefused(t *testing.T) {
	refused := 0
	for _, s := range readSigned(t) {
		for what, sig := range s.refused {
			s.mustRefuse(t, what, unhex(t, sig))
			refused++
		}
	}
	if refused < 10 {
		t.Errorf("only %d signatures to refuse", refused)
	}
}

// A key is bound to one algorithm: RSA's two are not each other's.
func TestOneAlgorithmPerKey(t *testing.T) {
	for _, alg := range []capsign.Alg{capsign.PS256, capsign.RS256} {
		s := signedWith(t, alg)
		other := capsign.PS256
		if alg == capsign.PS256 {
			other = capsign.RS256
		}
		key, err := capsign.NewKey(other, s.key.SPKI, capsign.ProviderSoftware, "vector")
		if err != nil {
			t.Fatal(err)
		}
		signed{key: key, msg: s.msg}.mustRefuse(t, "a signature with "+string(alg), s.sig)
	}
}

func TestAlgorithmOfAnotherKeyIsRefused(t *testing.T) {
	fits := map[capsign.Alg][]capsign.Alg{
		capsign.Ed25519: {capsign.Ed25519}, capsign.ES256: {capsign.ES256}, capsign.ES384: {capsign.ES384},
		capsign.PS256: {capsign.PS256, capsign.RS256}, capsign.RS256: {capsign.PS256, capsign.RS256},
	}
	algs := []capsign.Alg{capsign.Ed25519, capsign.ES256, capsign.ES384, capsign.PS256, capsign.RS256, "", "none", "HS256", "EdDSA", "ed25519"}
	for _, s := range readSigned(t) {
		for _, alg := range algs {
			if slices.Contains(fits[s.key.Alg], alg) {
				continue
			}
			if _, err := capsign.NewKey(alg, s.key.SPKI, capsign.ProviderSoftware, "vector"); !errors.Is(err, capsign.UnsupportedAlg) {
				t.Errorf("NewKey(%q) of a %s key = %v, want %v", alg, s.key.Alg, err, capsign.UnsupportedAlg)
			}
			confused := s.key
			confused.Alg = alg
			if err := confused.Verify(s.msg, s.sig); !errors.Is(err, capsign.UnsupportedAlg) {
				t.Errorf("%s key used with %q: Verify = %v, want %v", s.key.Alg, alg, err, capsign.UnsupportedAlg)
			}
		}
	}
	if err := (capsign.Key{}).Verify(nil, nil); !errors.Is(err, capsign.UnsupportedAlg) {
		t.Errorf("no key: Verify = %v, want %v", err, capsign.UnsupportedAlg)
	}
}

// ed25519Order is the order L of edwards25519's base point.
const ed25519Order = "1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3ed"

// RFC 8032, section 5.1.7: S + L gives the same equation, and must not pass.
func TestEd25519RefusesUnreducedS(t *testing.T) {
	order := new(big.Int).SetBytes(unhex(t, ed25519Order))
	for _, s := range readSigned(t)[:2] {
		littleEndian := bytes.Clone(s.sig[32:])
		slices.Reverse(littleEndian)
		for n := int64(1); ; n++ {
			sum := new(big.Int).SetBytes(littleEndian)
			sum.Add(sum, new(big.Int).Mul(order, big.NewInt(n)))
			if sum.BitLen() > 256 {
				break
			}
			unreduced := sum.FillBytes(make([]byte, 32))
			slices.Reverse(unreduced)
			s.mustRefuse(t, "S and a multiple of L", append(bytes.Clone(s.sig[:32]), unreduced...))
		}
	}
}

// scalars takes an ECDSA signature apart.
func (s signed) scalars(t *testing.T) (r, sLow, order *big.Int) {
	t.Helper()
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(s.sig, &rs); err != nil {
		t.Fatal(err)
	}
	return rs.R, rs.S, s.key.Public().(*ecdsa.PublicKey).Curve.Params().N
}

// integer encodes n as an ASN.1 INTEGER after so many superfluous bytes.
func integer(n *big.Int, padding ...byte) []byte {
	content := n.Bytes()
	if n.Sign() == 0 || content[0] > 127 {
		content = append([]byte{0}, content...)
	}
	return der(0x02, padding, content)
}

func TestECDSAHasOneEncoding(t *testing.T) {
	for _, alg := range []capsign.Alg{capsign.ES256, capsign.ES384} {
		signature := signedWith(t, alg)
		r, s, order := signature.scalars(t)
		zero := new(big.Int)
		if again := der(0x30, integer(r), integer(s)); !bytes.Equal(again, signature.sig) {
			t.Fatalf("%s: the encoder gives %x for %x", alg, again, signature.sig)
		}
		high := new(big.Int).Sub(order, s)
		content := signature.sig[2:]
		for name, sig := range map[string][]byte{
			"high s":                      der(0x30, integer(r), integer(high)),
			"zero byte before r":          der(0x30, integer(r, 0), integer(s)),
			"zero byte before s":          der(0x30, integer(r), integer(s, 0)),
			"length in the long form":     append([]byte{0x30, 0x81, byte(len(content))}, content...),
			"indefinite length":           slices.Concat([]byte{0x30, 0x80}, content, []byte{0, 0}),
			"something after s":           der(0x30, integer(r), integer(s), []byte{5, 0}),
			"a third number":              der(0x30, integer(r), integer(s), integer(s)),
			"r and s swapped":             der(0x30, integer(s), integer(r)),
			"r plus the order":            der(0x30, integer(new(big.Int).Add(r, order)), integer(s)),
			"s plus the order":            der(0x30, integer(r), integer(new(big.Int).Add(s, order))),
			"r zero":                      der(0x30, integer(zero), integer(s)),
			"s zero":                      der(0x30, integer(r), integer(zero)),
			"both zero":                   der(0x30, integer(zero), integer(zero)),
			"r the order":                 der(0x30, integer(order), integer(s)),
			"s the order":                 der(0x30, integer(r), integer(order)),
			"negative s":                  der(0x30, integer(r), der(0x02, []byte{0xff})),
			"negative r":                  der(0x30, der(0x02, []byte{0xff}), integer(s)),
			"empty numbers":               der(0x30, der(0x02), der(0x02)),
			"empty sequence":              der(0x30),
			"a set":                       der(0x31, integer(r), integer(s)),
			"r and s side by side":        append(r.FillBytes(make([]byte, 48)), s.FillBytes(make([]byte, 48))...),
			"the numbers, no sequence":    append(integer(r), integer(s)...),
			"numbers of another type":     der(0x30, der(0x04, r.Bytes()), der(0x04, s.Bytes())),
			"s as a number of many bytes": der(0x30, integer(r), der(0x02, make([]byte, 4096), s.Bytes())),
		} {
			signature.mustRefuse(t, name, sig)
		}
	}
}

func TestRSAHasOneEncoding(t *testing.T) {
	for _, alg := range []capsign.Alg{capsign.PS256, capsign.RS256} {
		s := signedWith(t, alg)
		n := s.key.Public().(*rsa.PublicKey).N
		plus := new(big.Int).Add(new(big.Int).SetBytes(s.sig), n)
		s.mustRefuse(t, "signature plus the modulus", plus.Bytes())
		s.mustRefuse(t, "zero", make([]byte, len(s.sig)))
		s.mustRefuse(t, "the modulus", n.Bytes())
		one := make([]byte, len(s.sig))
		one[len(one)-1] = 1
		s.mustRefuse(t, "one", one)
	}
}

// FuzzVerify holds that nothing but the signature verifies, whatever the key.
func FuzzVerify(f *testing.F) {
	all := readSigned(f)
	for i, s := range all {
		f.Add(uint8(i), s.msg, s.sig)
	}
	f.Fuzz(func(t *testing.T, which uint8, msg, sig []byte) {
		s := all[int(which)%len(all)]
		err := s.key.Verify(msg, sig)
		genuine := bytes.Equal(msg, s.msg) && bytes.Equal(sig, s.sig)
		if genuine != (err == nil) {
			t.Fatalf("%s: Verify = %v", s.key.Alg, err)
		}
		if err != nil && !errors.Is(err, capsign.SignatureInvalid) {
			t.Fatalf("%s: Verify = %v", s.key.Alg, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	for _, alg := range []capsign.Alg{capsign.Ed25519, capsign.ES256} {
		s := signedWith(b, alg)
		b.Run(string(alg), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = s.key.Verify(s.msg, s.sig)
			}
		})
	}
}
