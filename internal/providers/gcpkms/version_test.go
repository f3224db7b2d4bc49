package gcpkms

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"net/http"
	"os"
	"strings"
	"testing"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/option"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/gcp"
)

// An answer that lacks what it is checked by must be refused, and must not crash
// the worker.
func TestAnswersAreChecked(t *testing.T) {
	v := version{resource: "projects/p", key: capsign.Key{Alg: capsign.ES256}}
	good := func() *kmspb.AsymmetricSignResponse {
		return &kmspb.AsymmetricSignResponse{
			Name: v.resource, Signature: []byte("sig"), SignatureCrc32C: sum([]byte("sig")), VerifiedDigestCrc32C: true,
		}
	}
	req := v.request([]byte("msg"))
	if !v.answers(req, good()) {
		t.Error("a good answer is refused")
	}
	for name, spoil := range map[string]func(*kmspb.AsymmetricSignResponse){
		"no checksum":            func(a *kmspb.AsymmetricSignResponse) { a.SignatureCrc32C = nil },
		"another checksum":       func(a *kmspb.AsymmetricSignResponse) { a.SignatureCrc32C.Value++ },
		"no signature":           func(a *kmspb.AsymmetricSignResponse) { a.Signature = nil },
		"another name":           func(a *kmspb.AsymmetricSignResponse) { a.Name += "1" },
		"no name":                func(a *kmspb.AsymmetricSignResponse) { a.Name = "" },
		"digest not verified":    func(a *kmspb.AsymmetricSignResponse) { a.VerifiedDigestCrc32C = false },
		"the other one verified": func(a *kmspb.AsymmetricSignResponse) { a.VerifiedDigestCrc32C, a.VerifiedDataCrc32C = false, true },
	} {
		answer := good()
		spoil(answer)
		if v.answers(req, answer) {
			t.Errorf("%s: accepted", name)
		}
	}
	if v.answers(req, nil) {
		t.Error("no answer: accepted")
	}
	v.key.Alg = capsign.Ed25519
	if v.answers(v.request([]byte("msg")), good()) {
		t.Error("a digest verified where data was sent: accepted")
	}
}

func TestPublicKeysAreChecked(t *testing.T) {
	if sumMatches(nil, nil) {
		t.Error("no checksum matches nothing")
	}
	key, err := os.ReadFile("../software/testdata/p256.pem")
	must(t, err)
	server := newServer(t, gcp.Options{Plaintext: true}, gcp.P256)
	provider := openKey(t, newConfig(server))
	good := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: provider.held.Load().versions[provider.current].key.SPKI})
	if _, err := canonicalSPKI(string(good)); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for name, text := range map[string]string{
		"nothing":         "",
		"no PEM":          "public key",
		"a blank":         "\n",
		"a private key":   string(key),
		"of another type": strings.ReplaceAll(string(good), "PUBLIC KEY", "CERTIFICATE"),
		"two":             string(good) + string(good),
		"another DER":     strings.Replace(string(good), "\n", "\nAAAA", 1),
	} {
		if spki, err := canonicalSPKI(text); spki != nil || err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// dialREST makes a client of the API's REST form.
func dialREST(server *gcp.Server) dialer {
	return func(ctx context.Context, cfg Config, to endpoint, _ *tokens) (*kms.KeyManagementClient, error) {
		web := &http.Client{Transport: withToken{&http.Transport{TLSClientConfig: &tls.Config{RootCAs: to.tls.RootCAs, MinVersion: tls.VersionTLS12}}}}
		return withoutRetries(kms.NewKeyManagementRESTClient(ctx, option.WithEndpoint(server.RESTEndpoint), option.WithHTTPClient(web)))
	}
}

// withToken brings a token along.
type withToken struct{ http.RoundTripper }

// RoundTrip adds the token.
func (w withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer token")
	return w.RoundTripper.RoundTrip(r)
}

// One key has one kid, however it is reached, and what one form signs the other
// one's public key verifies.
func TestBothFormsOfTheAPIGiveTheSameKID(t *testing.T) {
	for _, alg := range []gcp.Algorithm{gcp.Ed25519, gcp.P256, gcp.P384, gcp.PSS3072} {
		server := newServer(t, gcp.Options{}, alg)
		viaGRPC := openKey(t, newConfig(server))
		viaREST, err := open(t.Context(), newConfig(server), dialREST(server))
		must(t, err)
		t.Cleanup(func() { must(t, viaREST.Close()) })
		if viaGRPC.current != viaREST.current {
			t.Errorf("%v: kid %s by gRPC, %s by REST", alg, viaGRPC.current, viaREST.current)
		}
		sig, err := viaREST.Sign(t.Context(), "", []byte("a"))
		must(t, err)
		mustVerify(t, viaGRPC, []byte("a"), sig)
		server.DisableVersion(viaREST.held.Load().versions[viaREST.current].resource)
	}
}

func TestKeyKnowsItsPlace(t *testing.T) {
	server := newServer(t, gcp.Options{Plaintext: true}, gcp.P256)
	provider := openKey(t, newConfig(server))
	key, err := provider.PublicKey(t.Context(), provider.current)
	must(t, err)
	if key.Class != capsign.ClassCloud || key.Backend != "gcp" || key.Version != "1" || key.Provider != capsign.ProviderCloudKMS {
		t.Errorf("%s, %s, %s, %s", key.Class, key.Backend, key.Version, key.Provider)
	}
}
