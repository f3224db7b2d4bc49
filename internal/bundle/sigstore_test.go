package bundle_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"testing"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/bundle"
	"github.com/capsign/cap/internal/bundle/sigstoretest"
)

func TestSigstoreVerifiesFilesAndDigests(t *testing.T) {
	for _, alg := range parityAlgs {
		signer, key := newQueue(t, alg)
		for _, size := range []int{0, 1, capsign.MaxMessageSize + 1} {
			content := bytes.Repeat([]byte{'x'}, size)
			other := append(bytes.Clone(content), 'y')
			file, _ := signFile(t, content, signer)
			if err := sigstoretest.VerifyFile(t, file, content, key.SPKI); err != nil {
				t.Errorf("%s, %d bytes: %v", alg, size, err)
			}
			if sigstoretest.VerifyFile(t, file, other, key.SPKI) == nil {
				t.Errorf("%s, %d bytes: another file is accepted", alg, size)
			}
			digest, _ := signDigest(t, content, signer)
			sum, wrong := sha256.Sum256(content), sha256.Sum256(other)
			if err := sigstoretest.VerifyDigest(t, digest, sum[:], key.SPKI); err != nil {
				t.Errorf("%s, digest of %d bytes: %v", alg, size, err)
			}
			if sigstoretest.VerifyDigest(t, digest, wrong[:], key.SPKI) == nil {
				t.Errorf("%s, digest of %d bytes: another is accepted", alg, size)
			}
		}
	}
}

func TestSigstoreRefusesWhatIsChanged(t *testing.T) {
	signer, key := newQueue(t, capsign.ES256)
	content := []byte("the artifact")
	sum := sha256.Sum256(content)
	data, _ := signDigest(t, content, signer)
	sig := text(t, data, `"sig":"`)
	for name, changed := range map[string][]byte{
		"signature": replaced(t, data, sig, base64.StdEncoding.EncodeToString([]byte("other"))),
		"kid":       resealed(t, data, key.KID, "0"),
		"predicate": resealed(t, data, "cosign/sign/v1", "cosign/scan/v1"),
		"keyid":     replaced(t, data, `{"sig"`, `{"keyid":"`+key.KID+`","sig"`),
	} {
		if sigstoretest.VerifyDigest(t, changed, sum[:], key.SPKI) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// held is a signer over a private key in the test's memory.
type held struct {
	key  capsign.Key
	sign func(digest []byte) ([]byte, error)
	hash crypto.Hash
}

func (h held) Current(context.Context) (capsign.Key, error) { return h.key, nil }

func (h held) Sign(_ context.Context, msg []byte) (capsign.Signature, error) {
	hash := h.hash.New()
	hash.Write(msg)
	sig, err := h.sign(hash.Sum(nil))
	return capsign.Signature{KID: h.key.KID, Alg: h.key.Alg, Bytes: sig}, err
}

// TestSigstoreVerifiesStatementsOfTheOtherAlgorithms: of keys that only some
// providers have.
func TestSigstoreVerifiesStatementsOfTheOtherAlgorithms(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r3072, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	for _, signer := range []held{
		{newKey(t, capsign.ES384, p384.Public()), func(digest []byte) ([]byte, error) { return ecdsa.SignASN1(rand.Reader, p384, digest) }, crypto.SHA384},
		{newKey(t, capsign.RS256, r3072.Public()), func(digest []byte) ([]byte, error) {
			return rsa.SignPKCS1v15(rand.Reader, r3072, crypto.SHA256, digest)
		}, crypto.SHA256},
	} {
		data, b := signFile(t, []byte("the artifact"), signer)
		if !b.OfStatement() {
			t.Errorf("%s signs the file itself", signer.key.Alg)
		}
		if err := sigstoretest.VerifyFile(t, data, []byte("the artifact"), signer.key.SPKI); err != nil {
			t.Errorf("%s: %v", signer.key.Alg, err)
		}
	}
}

// newKey returns the key version of a public key.
func newKey(t *testing.T, alg capsign.Alg, public crypto.PublicKey) capsign.Key {
	t.Helper()
	spki, err := capsign.MarshalPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	key, err := capsign.NewKey(alg, spki, capsign.ProviderSoftware, "test-key")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var _ bundle.Signer = held{}
