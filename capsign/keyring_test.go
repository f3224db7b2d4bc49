package capsign_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

// issued is when the tests' first keyring is made, t1 when its rotation ends
// and expires when it does.
var (
	issued  = time.Date(2026, 11, 23, 12, 0, 0, 1, time.UTC)
	t1      = issued.Add(30 * 24 * time.Hour)
	expires = issued.Add(365 * 24 * time.Hour)
)

// seeded returns the Ed25519 key that belongs to a label.
func seeded(label string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(label))
	return ed25519.NewKeyFromSeed(seed[:])
}

// keyOf returns the public key of that name that belongs to a label.
func keyOf(t testing.TB, name, label string) capsign.Key {
	t.Helper()
	spki, err := capsign.MarshalPublicKey(seeded(label).Public())
	if err != nil {
		t.Fatal(err)
	}
	key, err := capsign.NewKey(capsign.Ed25519, spki, capsign.ProviderSoftware, name)
	if err != nil {
		t.Fatal(err)
	}
	key.Pool = "default"
	return key
}

// root is a root key of the tests'.
type root struct {
	capsign.RootKey
	sign func(msg []byte) []byte
}

// edRoot returns the Ed25519 root that belongs to a label.
func edRoot(t testing.TB, label string) root {
	t.Helper()
	private := seeded("root " + label)
	spki, err := capsign.MarshalPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return root{capsign.RootKey{Alg: capsign.Ed25519, SPKI: spki}, func(msg []byte) []byte { return ed25519.Sign(private, msg) }}
}

// ecRoot returns a new P-256 root.
func ecRoot(t testing.TB) root {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := capsign.MarshalPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	r := root{RootKey: capsign.RootKey{Alg: capsign.ES256, SPKI: spki}}
	r.sign = func(msg []byte) []byte {
		digest := sha256.Sum256(msg)
		for { // until s is the lower one
			sig, err := ecdsa.SignASN1(rand.Reader, private, digest[:])
			if err != nil {
				t.Fatal(err)
			}
			if r.Verify(msg, sig) == nil {
				return sig
			}
		}
	}
	return r
}

// rootsOf returns the roots of which threshold must sign.
func rootsOf(threshold int, roots ...root) capsign.Roots {
	all := capsign.Roots{Threshold: threshold}
	for _, r := range roots {
		all.Keys = append(all.Keys, r.RootKey)
	}
	return all
}

// rotation returns the key "k" with versions of the given labels, rotated from
// the last but one to the last.
func rotation(t testing.TB, labels ...string) capsign.KeyRotation {
	t.Helper()
	r := capsign.KeyRotation{Name: "k", Pool: "default", At: len(labels) - 1}
	for _, label := range labels {
		r.Versions = append(r.Versions, capsign.VersionOf(keyOf(t, "k", label)))
	}
	if r.At > 0 {
		r.T1, r.Overlap = t1, capsign.Duration(t1.Sub(issued))
	}
	return r
}

// kids returns the kids of a rotation's versions.
func kids(r capsign.KeyRotation) []string {
	all := make([]string, len(r.Versions))
	for i, v := range r.Versions {
		all[i] = v.KID
	}
	return all
}

// ring returns a first keyring of the keys.
func ring(roots capsign.Roots, keys ...capsign.KeyRotation) capsign.Keyring {
	return capsign.Keyring{
		V: 1, Version: 1, Issued: issued, Expires: expires, Roots: roots,
		Action: capsign.ActionInit, Reason: "first", Keys: keys,
	}
}

// next returns a keyring that comes after held.
func next(held *capsign.SignedKeyring) capsign.Keyring {
	k := *held.Keyring()
	k.Version, k.Previous, k.Action, k.Reason = k.Version+1, held.Hash(), capsign.ActionRenew, "later"
	k.Issued, k.Keys = k.Issued.Add(time.Hour), slices.Clone(k.Keys)
	return k
}

// signedBy returns the keyring with the roots' signatures.
func signedBy(t testing.TB, k capsign.Keyring, roots ...root) *capsign.SignedKeyring {
	t.Helper()
	s, err := capsign.NewSignedKeyring(k)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range roots {
		if s, err = s.WithSignature(r.RootKey, r.sign(s.SigningInput())); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// chainOf returns n keyrings one after the other, all signed by the roots.
func chainOf(t testing.TB, n int, roots ...root) []*capsign.SignedKeyring {
	t.Helper()
	chain := []*capsign.SignedKeyring{signedBy(t, ring(rootsOf(len(roots), roots...), rotation(t, "1", "2")), roots...)}
	for len(chain) < n {
		chain = append(chain, signedBy(t, next(chain[len(chain)-1]), roots...))
	}
	return chain
}

// mustEncode returns the envelope.
func mustEncode(t testing.TB, s *capsign.SignedKeyring) []byte {
	t.Helper()
	data, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// wantCode says that err has to wrap code, "" for none.
func wantCode(t testing.TB, what string, err error, code capsign.Code) {
	t.Helper()
	if codeOf(err) != code || (err == nil) != (code == "") {
		t.Errorf("%s: error %v, want %q", what, err, code)
	}
}

func TestDurationHasOneSpelling(t *testing.T) {
	var d capsign.Duration
	for _, text := range []string{"720h0m0s", "0s", "1ns", "-1h0m0s", "1.5s"} {
		if err := d.UnmarshalText([]byte(text)); err != nil || d.String() != text {
			t.Errorf("%q: %v, %v", text, d, err)
		}
	}
	for _, text := range []string{"720h", "", "30d", "1h0m0.0s", " 1s", "1", "+1s", "99999999h0m0s"} {
		wantCode(t, text, d.UnmarshalText([]byte(text)), capsign.BadRequest)
	}
}
