package bundle_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/capsign/capsigntest"
	"github.com/capsign/cap/internal/bundle"
)

// parityAlgs are the algorithms that every bundle must work with.
var parityAlgs = []capsign.Alg{capsign.Ed25519, capsign.ES256}

// newQueue returns a signer over a pool of its own, and the pool's key.
func newQueue(t *testing.T, alg capsign.Alg) (*bundle.Queue, capsign.Key) {
	t.Helper()
	pool := capsigntest.Config{Alg: alg}.NewPool(t)
	return bundle.NewQueue(pool.Conn, pool.Client(t)), pool.Key
}

// by returns the check of a verifier who knows one key.
func by(key capsign.Key) bundle.Check { return capsign.NewKeySet(key).Verify }

// signFile signs a file's bytes and returns the bundle, read back.
func signFile(t *testing.T, content []byte, signer bundle.Signer) ([]byte, *bundle.Bundle) {
	t.Helper()
	data, _, err := bundle.SignFile(t.Context(), "app.tar", bytes.NewReader(content), signer)
	if err != nil {
		t.Fatal(err)
	}
	return data, parse(t, data)
}

// signDigest signs a statement about content and returns the bundle, read back.
func signDigest(t *testing.T, content []byte, signer bundle.Signer) ([]byte, *bundle.Bundle) {
	t.Helper()
	data, _, err := bundle.SignDigest(t.Context(), sha256.Sum256(content), signer)
	if err != nil {
		t.Fatal(err)
	}
	return data, parse(t, data)
}

// parse reads a bundle.
func parse(t *testing.T, data []byte) *bundle.Bundle {
	t.Helper()
	b, err := bundle.Parse(data)
	if err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return b
}

// wantCode holds an error to its code.
func wantCode(t *testing.T, what string, err error, want capsign.Code) {
	t.Helper()
	if err == nil || capsign.CodeOf(err) != want {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

func TestFilesAndDigestsAreVerifiedWithTheKID(t *testing.T) {
	for _, alg := range parityAlgs {
		signer, key := newQueue(t, alg)
		content, other := []byte("the artifact"), []byte("another")
		_, file := signFile(t, content, signer)
		if file.OfStatement() || file.KID() != key.KID {
			t.Errorf("%s: statement %v, kid %s", alg, file.OfStatement(), file.KID())
		}
		if err := file.VerifyFile(bytes.NewReader(content), by(key)); err != nil {
			t.Errorf("%s: file: %v", alg, err)
		}
		wantCode(t, "another file", file.VerifyFile(bytes.NewReader(other), by(key)), capsign.SignatureInvalid)
		wantCode(t, "file as digest", file.VerifyDigest(sha256.Sum256(content), by(key)), capsign.UnsupportedScheme)

		_, digest := signDigest(t, content, signer)
		if !digest.OfStatement() || digest.KID() != key.KID {
			t.Errorf("%s: statement %v, kid %s", alg, digest.OfStatement(), digest.KID())
		}
		if err := digest.VerifyDigest(sha256.Sum256(content), by(key)); err != nil {
			t.Errorf("%s: digest: %v", alg, err)
		}
		if err := digest.VerifyFile(bytes.NewReader(content), by(key)); err != nil {
			t.Errorf("%s: file by its digest: %v", alg, err)
		}
		wantCode(t, "another digest", digest.VerifyDigest(sha256.Sum256(other), by(key)), capsign.SignatureInvalid)
	}
}

func TestAFileTooLargeToBeSentIsSignedByItsDigest(t *testing.T) {
	signer, key := newQueue(t, capsign.ES256)
	for size, statement := range map[int]bool{0: false, capsign.MaxMessageSize: false, capsign.MaxMessageSize + 1: true} {
		content := bytes.Repeat([]byte{'x'}, size)
		_, b := signFile(t, content, signer)
		if b.OfStatement() != statement {
			t.Errorf("%d bytes: statement %v", size, b.OfStatement())
		}
		if err := b.VerifyFile(bytes.NewReader(content), by(key)); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		want := capsign.SignatureInvalid
		if size == capsign.MaxMessageSize {
			want = capsign.TooLarge
		}
		wantCode(t, "one more byte", b.VerifyFile(bytes.NewReader(append(content, 'x')), by(key)), want)
	}
}

func TestTheVerdictOnTheKeyIsTheChecksOwn(t *testing.T) {
	signer, key := newQueue(t, capsign.Ed25519)
	content := []byte("the artifact")
	_, b := signDigest(t, content, signer)
	retired := func(kid string, msg, sig []byte) error {
		if err := key.Verify(msg, sig); kid != key.KID || err != nil {
			t.Errorf("check of %s: %v", kid, err)
		}
		return capsign.KeyRetired
	}
	wantCode(t, "retired", b.VerifyDigest(sha256.Sum256(content), retired), capsign.KeyRetired)
	_, stranger := newQueue(t, capsign.Ed25519)
	wantCode(t, "stranger", b.VerifyDigest(sha256.Sum256(content), by(stranger)), capsign.KIDUnknown)
}

// rotating is a signer whose key versions follow one another with each
// signature, unlike what it said before.
type rotating struct {
	current capsign.Key
	kids    []string
	alg     capsign.Alg
	signed  [][]byte
}

func (r *rotating) Current(context.Context) (capsign.Key, error) { return r.current, nil }

func (r *rotating) Sign(_ context.Context, msg []byte) (capsign.Signature, error) {
	kid := r.kids[min(len(r.signed), len(r.kids)-1)]
	r.signed = append(r.signed, msg)
	return capsign.Signature{KID: kid, Alg: r.alg, Bytes: []byte("sig")}, nil
}

func TestAStatementNamesTheKeyVersionThatSignedIt(t *testing.T) {
	signer := &rotating{current: capsign.Key{KID: "old", Alg: capsign.Ed25519}, kids: []string{"new"}, alg: capsign.Ed25519}
	data, kid, err := bundle.SignDigest(t.Context(), sha256.Sum256(nil), signer)
	if err != nil || kid != "new" || len(signer.signed) != 2 {
		t.Fatalf("kid %s after %d signatures: %v", kid, len(signer.signed), err)
	}
	if !bytes.Contains(signer.signed[1], []byte(`"kid":"new"`)) || parse(t, data).KID() != "new" {
		t.Errorf("statement %s in %s", signer.signed[1], data)
	}
	restless := &rotating{kids: []string{"a", "b", "c", "d"}, alg: capsign.Ed25519}
	_, _, err = bundle.SignDigest(t.Context(), sha256.Sum256(nil), restless)
	wantCode(t, "restless", err, capsign.RetriesExhausted)
}

func TestAlgorithmsThatCosignCannotVerifyAreRefused(t *testing.T) {
	pss := &rotating{current: capsign.Key{KID: "k", Alg: capsign.PS256}, kids: []string{"k"}, alg: capsign.PS256}
	_, _, err := bundle.SignFile(t.Context(), "f", strings.NewReader("x"), pss)
	wantCode(t, "PS256", err, capsign.UnsupportedAlg)
	turned := &rotating{current: capsign.Key{KID: "k", Alg: capsign.ES256}, kids: []string{"k"}, alg: capsign.ES384}
	_, _, err = bundle.SignFile(t.Context(), "f", strings.NewReader("x"), turned)
	wantCode(t, "ES384 of whole files", err, capsign.UnsupportedAlg)
	p384 := &rotating{current: capsign.Key{KID: "k", Alg: capsign.ES384}, kids: []string{"k"}, alg: capsign.ES384}
	data, _, err := bundle.SignFile(t.Context(), "f", strings.NewReader("x"), p384)
	if err != nil || !parse(t, data).OfStatement() {
		t.Errorf("ES384: %v", err)
	}
}

func TestWhatIsSignedIsTheDSSEEncoding(t *testing.T) {
	signer := &rotating{current: capsign.Key{KID: "k"}, kids: []string{"k"}, alg: capsign.Ed25519}
	if _, _, err := bundle.SignDigest(t.Context(), sha256.Sum256([]byte("x")), signer); err != nil {
		t.Fatal(err)
	}
	const payload = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}}],` +
		`"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{"kid":"k"}}`
	want := dsse.PAE("application/vnd.in-toto+json", []byte(payload))
	if !bytes.Equal(signer.signed[0], want) {
		t.Errorf("signed %s\nwant   %s", signer.signed[0], want)
	}
}

func TestErrorsOfReadingAndSigningAreHandedOn(t *testing.T) {
	signer := &rotating{current: capsign.Key{KID: "k", Alg: capsign.Ed25519}, kids: []string{"k"}, alg: capsign.Ed25519}
	broken := io.MultiReader(strings.NewReader("half"), brokenReader{})
	if data, _, err := bundle.SignFile(t.Context(), "f", broken, signer); !errors.Is(err, errBroken) || data != nil {
		t.Errorf("%s, %v", data, err)
	}
	data, _, err := bundle.SignFile(t.Context(), "f", strings.NewReader("x"), signer)
	if err != nil {
		t.Fatal(err)
	}
	if err := parse(t, data).VerifyFile(brokenReader{}, func(string, []byte, []byte) error { return nil }); !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

var errBroken = errors.New("broken")

// brokenReader fails.
type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }
