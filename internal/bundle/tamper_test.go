package bundle_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/bundle"
)

// replaced returns a bundle with one text changed to another.
func replaced(t *testing.T, data []byte, from, to string) []byte {
	t.Helper()
	if !bytes.Contains(data, []byte(from)) {
		t.Fatalf("no %s in %s", from, data)
	}
	return bytes.ReplaceAll(data, []byte(from), []byte(to))
}

// resealed returns a statement's bundle with its payload changed.
func resealed(t *testing.T, data []byte, from, to string) []byte {
	t.Helper()
	payload := text(t, data, `"payload":"`)
	raw, err := base64.StdEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	return replaced(t, data, payload, base64.StdEncoding.EncodeToString(replaced(t, raw, from, to)))
}

// text returns what stands between a member's start and the next quote.
func text(t *testing.T, data []byte, start string) string {
	t.Helper()
	_, after, found := strings.Cut(string(data), start)
	value, _, closed := strings.Cut(after, `"`)
	if !found || !closed {
		t.Fatalf("no %s in %s", start, data)
	}
	return value
}

func TestAnyFieldOfAStatementThatIsChangedIsRefused(t *testing.T) {
	signer, key := newQueue(t, capsign.Ed25519)
	digest := sha256.Sum256([]byte("the artifact"))
	data, _ := signDigest(t, []byte("the artifact"), signer)
	twin, err := capsign.NewKey(key.Alg, key.SPKI, key.Provider, "twin")
	if err != nil {
		t.Fatal(err)
	}
	sig := text(t, data, `"sig":"`)
	other := base64.StdEncoding.EncodeToString(make([]byte, 64))
	for name, tc := range map[string]struct {
		data []byte
		want capsign.Code
	}{
		"media type":     {replaced(t, data, "bundle.v0.3+json", "bundle.v0.2+json"), capsign.UnsupportedScheme},
		"hint":           {replaced(t, data, `"hint":"`+key.KID, `"hint":"`+strings.Repeat("0", 64)), capsign.KIDUnknown},
		"hint of a twin": {replaced(t, data, `"hint":"`+key.KID, `"hint":"`+twin.KID), capsign.SignatureInvalid},
		"payload type":   {replaced(t, data, "vnd.in-toto+json", "vnd.in-toto2+json"), capsign.UnsupportedScheme},
		"signature":      {replaced(t, data, sig, other), capsign.SignatureInvalid},
		"two signatures": {replaced(t, data, `{"sig":"`+sig+`"}`, `{"sig":"`+sig+`"},{"sig":"`+sig+`"}`), capsign.BadRequest},
		"no signature":   {replaced(t, data, `{"sig":"`+sig+`"}`, ``), capsign.BadRequest},
		"digest":         {resealed(t, data, hex.EncodeToString(digest[:]), strings.Repeat("a", 64)), capsign.SignatureInvalid},
		"kid":            {resealed(t, data, key.KID, twin.KID), capsign.SignatureInvalid},
		"predicate":      {resealed(t, data, "cosign/sign/v1", "cosign/scan/v1"), capsign.UnsupportedScheme},
		"statement type": {resealed(t, data, "Statement/v1", "Statement/v2"), capsign.UnsupportedScheme},
		"white space":    {resealed(t, data, `,"subject"`, `, "subject"`), capsign.SignatureInvalid},
		"subjects":       {resealed(t, data, `[{"digest"`, `[{"digest":{}},{"digest"`), capsign.SignatureInvalid},
		"many subjects":  {resealed(t, data, `[{"digest"`, `[`+strings.Repeat(`{"digest":{}},`, 1024)+`{"digest"`), capsign.BadRequest},
		"no subject":     {resealed(t, data, `[{"digest":{"sha256":"`+hex.EncodeToString(digest[:])+`"}}]`, `[]`), capsign.BadRequest},
		"certificate":    {replaced(t, data, `"publicKey":{"hint":"`+key.KID+`"}`, `"certificate":{"rawBytes":"AA=="}`), capsign.UnsupportedScheme},
		"unknown member": {replaced(t, data, `{"mediaType"`, `{"x":1,"mediaType"`), capsign.BadRequest},
		"twice":          {replaced(t, data, `{"mediaType"`, `{"mediaType":"`+bundle.MediaType+`","mediaType"`), capsign.BadRequest},
		"cut":            {data[:len(data)-1], capsign.BadRequest},
		"padding":        {append(bytes.Clone(data), bytes.Repeat([]byte(" "), bundle.MaxSize)...), capsign.TooLarge},
		"nothing":        {[]byte("{}"), capsign.UnsupportedScheme},
	} {
		b, err := bundle.Parse(tc.data)
		if err == nil {
			err = b.VerifyDigest(digest, capsign.NewKeySet(key, twin).Verify)
		}
		wantCode(t, name, err, tc.want)
	}
}

func TestAnyFieldOfAFilesBundleThatIsChangedIsRefused(t *testing.T) {
	for _, alg := range parityAlgs {
		signer, key := newQueue(t, alg)
		content := []byte("the artifact")
		data, _ := signFile(t, content, signer)
		sig, digest := text(t, data, `"signature":"`), text(t, data, `"digest":"`)
		for name, tc := range map[string]struct {
			data []byte
			want capsign.Code
		}{
			"hint":      {replaced(t, data, key.KID, strings.Repeat("0", 64)), capsign.KIDUnknown},
			"signature": {replaced(t, data, sig, digest), capsign.SignatureInvalid},
			"digest":    {replaced(t, data, digest, base64.StdEncoding.EncodeToString(make([]byte, 32))), capsign.SignatureInvalid},
			"algorithm": {replaced(t, data, "SHA2_256", "SHA2_512"), capsign.UnsupportedScheme},
			"content":   {replaced(t, data, `"signature":"`+sig+`"`, `"signature":""`), capsign.SignatureInvalid},
		} {
			b, err := bundle.Parse(tc.data)
			if err == nil {
				err = b.VerifyFile(bytes.NewReader(content), by(key))
			}
			wantCode(t, string(alg)+": "+name, err, tc.want)
		}
	}
}

// TestAKeyIDOfTheEnvelopeMeansNothing: nothing signs it (DSSE v1), and cosign
// has its own use for it.
func TestAKeyIDOfTheEnvelopeMeansNothing(t *testing.T) {
	signer, key := newQueue(t, capsign.Ed25519)
	data, _ := signDigest(t, []byte("the artifact"), signer)
	if bytes.Contains(data, []byte("keyid")) {
		t.Fatalf("keyid in %s", data)
	}
	named := parse(t, replaced(t, data, `{"sig"`, `{"keyid":"SHA256:x","sig"`))
	if err := named.VerifyDigest(sha256.Sum256([]byte("the artifact")), by(key)); err != nil {
		t.Error(err)
	}
}

// TestABundleOfCosignsOwnNamesTheKeyByItsFingerprint: cosign signs with cap's
// key by way of a plugin, and knows no kid.
func TestABundleOfCosignsOwnNamesTheKeyByItsFingerprint(t *testing.T) {
	signer, key := newQueue(t, capsign.ES256)
	content := []byte("the artifact")
	data, _ := signFile(t, content, signer)
	sum := sha256.Sum256(key.SPKI)
	b := parse(t, replaced(t, data, key.KID, base64.StdEncoding.EncodeToString(sum[:])))
	if b.KID() != key.SPKISHA256() {
		t.Errorf("kid %s", b.KID())
	}
	if err := b.VerifyFile(bytes.NewReader(content), by(key)); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"k"}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"AA=="},"signature":"AA=="}}`))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"k"}},"dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AA=="}]}}`))
	refuse := func(string, []byte, []byte) error { return capsign.SignatureInvalid }
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := bundle.Parse(data)
		if (b == nil) == (err == nil) {
			t.Fatalf("bundle %v, error %v", b, err)
		}
		if err != nil && capsign.CodeOf(err) == capsign.Internal {
			t.Fatal(err)
		}
		if b != nil && b.VerifyFile(bytes.NewReader(nil), refuse) == nil {
			t.Fatal("verified without a signature")
		}
	})
}
