package gcpkms

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/gcp"
)

// keyID is the CryptoKey that most tests use.
const keyID = "cap-signer"

// rsaKey is made once for all tests: it takes a while.
var rsaKey = sync.OnceValues(func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 3072) })

// newServer starts a KMS with one version of the key. With TLS, the credentials
// that it asks for are found.
func newServer(t testing.TB, opts gcp.Options, alg gcp.Algorithm) *gcp.Server {
	t.Helper()
	server := gcp.New(t, opts)
	addVersion(t, server, alg)
	if !opts.Plaintext {
		gcp.Credentials(t)
	}
	return server
}

// addVersion adds a version to the key and returns its resource name.
func addVersion(t testing.TB, server *gcp.Server, alg gcp.Algorithm) string {
	t.Helper()
	var private crypto.Signer
	if alg == gcp.PSS3072 || alg == gcp.PKCS3072 {
		var err error
		private, err = rsaKey()
		must(t, err)
	}
	name, err := server.AddKey(keyID, alg, private)
	must(t, err)
	return name
}

// newConfig returns a configuration of the server's key, with little patience.
func newConfig(server *gcp.Server) Config {
	return Config{
		Project:     gcp.Project,
		Location:    gcp.Location,
		KeyRing:     gcp.KeyRing,
		Key:         keyID,
		Endpoint:    server.Endpoint,
		CAFile:      server.CAFile,
		KeyName:     "cap-signing",
		CallTimeout: 2 * time.Second,
	}
}

// openKey opens the key; the test closes it.
func openKey(t testing.TB, cfg Config) *Provider {
	t.Helper()
	provider, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { must(t, provider.Close()) })
	return provider
}

// must ends the test at an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mustVerify says that sig is the provider's current key's signature of msg.
func mustVerify(t testing.TB, provider *Provider, msg []byte, sig capsign.Signature) {
	t.Helper()
	key, err := provider.PublicKey(t.Context(), sig.KID)
	must(t, err)
	if err := key.Verify(msg, sig.Bytes); err != nil {
		t.Errorf("the signature does not verify: %v", err)
	}
}

// secrets are texts that no error may contain.
var secrets = []string{gcp.Project, gcp.Location, gcp.KeyRing, keyID, "127.0.0.1", "google", "cloudkms", "cryptoKey", "rpc", "desc", "Quota", "Permission"}

func TestNewestEnabledVersionIsCurrent(t *testing.T) {
	server := newServer(t, gcp.Options{Plaintext: true}, gcp.P256)
	for range 10 {
		addVersion(t, server, gcp.Ed25519)
	}
	last := addVersion(t, server, gcp.P384)
	versionsAre := func(provider *Provider, want ...string) {
		t.Helper()
		kids, err := provider.ListKIDs(t.Context())
		must(t, err)
		var got []string
		for _, kid := range kids {
			key, err := provider.PublicKey(t.Context(), kid)
			must(t, err)
			got = append(got, key.Version)
		}
		if len(got) != len(want) || got[0] != want[0] || got[len(got)-1] != want[len(want)-1] {
			t.Errorf("versions %v, want %v", got, want)
		}
	}
	versionsAre(openKey(t, newConfig(server)), "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12")
	server.DisableVersion(last)
	versionsAre(openKey(t, newConfig(server)), "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11")
	pinned := newConfig(server)
	pinned.Version = "3"
	versionsAre(openKey(t, pinned), "3")
	must(t, openKey(t, pinned).Reload(t.Context()))
}

func TestOpenRefuses(t *testing.T) {
	server := newServer(t, gcp.Options{Plaintext: true}, gcp.P256)
	second := addVersion(t, server, gcp.P256)
	server.DisableVersion(second)
	server.AddEmptyKey("empty", gcp.P256)
	disabled, err := server.AddKey("disabled", gcp.P256, nil)
	must(t, err)
	server.DisableVersion(disabled)
	private, err := rsaKey()
	must(t, err)
	for range 2 {
		_, err = server.AddKey("twice", gcp.PSS3072, private)
		must(t, err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	for name, alg := range map[string]gcp.Algorithm{"bitcoin": kmspb.CryptoKeyVersion_EC_SIGN_SECP256K1_SHA256, "liar": gcp.P384} {
		_, err = server.AddKey(name, alg, p256)
		must(t, err)
	}
	for name, test := range map[string]struct {
		change func(*Config)
		want   capsign.Code
	}{
		"no such key":              {func(cfg *Config) { cfg.Key = "other" }, capsign.KeyUnknown},
		"no such version":          {func(cfg *Config) { cfg.Version = "7" }, capsign.KeyUnknown},
		"disabled version":         {func(cfg *Config) { cfg.Version = "2" }, capsign.KeyDisabled},
		"no version":               {func(cfg *Config) { cfg.Key = "empty" }, capsign.KeyUnknown},
		"no enabled version":       {func(cfg *Config) { cfg.Key = "disabled" }, capsign.KeyDisabled},
		"one key in two versions":  {func(cfg *Config) { cfg.Key = "twice" }, capsign.KeyAmbiguous},
		"an algorithm cap has not": {func(cfg *Config) { cfg.Key = "bitcoin" }, capsign.UnsupportedAlg},
		"a key of another type":    {func(cfg *Config) { cfg.Key = "liar" }, capsign.Integrity},
		"no project":               {func(cfg *Config) { cfg.Project = "" }, capsign.ConfigInvalid},
		"key in another ring":      {func(cfg *Config) { cfg.Key = "../other/cryptoKeys/" + keyID }, capsign.ConfigInvalid},
		"version with a path":      {func(cfg *Config) { cfg.Version = "1/2" }, capsign.ConfigInvalid},
		"version zero":             {func(cfg *Config) { cfg.Version = "0" }, capsign.ConfigInvalid},
		"version beyond any":       {func(cfg *Config) { cfg.Version = "99999999999999999999" }, capsign.ConfigInvalid},
		"project too long":         {func(cfg *Config) { cfg.Project = strings.Repeat("p", 64) }, capsign.ConfigInvalid},
		"no key name":              {func(cfg *Config) { cfg.KeyName = "" }, capsign.ConfigInvalid},
		"plaintext over a network": {func(cfg *Config) { cfg.Endpoint = "http://192.0.2.1:8080" }, capsign.ConfigInvalid},
		"no scheme":                {func(cfg *Config) { cfg.Endpoint = "127.0.0.1:8080" }, capsign.ConfigInvalid},
		"another scheme":           {func(cfg *Config) { cfg.Endpoint = "ftp://127.0.0.1:8080" }, capsign.ConfigInvalid},
		"endpoint with a password": {func(cfg *Config) { cfg.Endpoint = "http://a:b@127.0.0.1:8080" }, capsign.ConfigInvalid},
		"endpoint with a path":     {func(cfg *Config) { cfg.Endpoint += "/v1" }, capsign.ConfigInvalid},
		"missing CA file":          {func(cfg *Config) { cfg.CAFile = "missing.pem" }, capsign.ConfigInvalid},
		"CA file without any":      {func(cfg *Config) { cfg.CAFile = "provider_test.go" }, capsign.ConfigInvalid},
	} {
		cfg := newConfig(server)
		test.change(&cfg)
		provider, err := Open(t.Context(), cfg)
		if provider != nil || !errors.Is(err, test.want) {
			t.Errorf("%s: Open = %v, %v; want %v", name, provider, err, test.want)
		}
	}
}

func TestPlaintextSendsNoCredentials(t *testing.T) {
	gcp.Credentials(t) // they are there, and stay here
	server := newServer(t, gcp.Options{Plaintext: true}, gcp.Ed25519)
	provider := openKey(t, newConfig(server))
	sig, err := provider.Sign(t.Context(), "", []byte("a"))
	must(t, err)
	mustVerify(t, provider, []byte("a"), sig)
	if n := server.Tokens(); n != 0 {
		t.Errorf("%d calls brought a token", n)
	}
	withTLS := newServer(t, gcp.Options{}, gcp.Ed25519)
	openKey(t, newConfig(withTLS))
	if withTLS.Tokens() == 0 {
		t.Error("no call brought a token over TLS")
	}
}

// What signs must be what was resolved: a version that is disabled later is not
// replaced by another one.
func TestDisabledVersionSignsNoMore(t *testing.T) {
	server := newServer(t, gcp.Options{Plaintext: true}, gcp.Ed25519)
	second := addVersion(t, server, gcp.Ed25519)
	provider := openKey(t, newConfig(server))
	server.DisableVersion(second)
	sig, err := provider.Sign(t.Context(), "", []byte("a"))
	if !errors.Is(err, capsign.KeyDisabled) || sig.Bytes != nil {
		t.Errorf("Sign = %v, %v; want %v", sig, err, capsign.KeyDisabled)
	}
	must(t, provider.Reload(t.Context()))
	if _, err := provider.Sign(t.Context(), "", []byte("a")); !errors.Is(err, capsign.KeyDisabled) {
		t.Errorf("Sign after Reload: %v, want %v", err, capsign.KeyDisabled)
	}
	server.EnableVersion(second)
	if _, err = provider.Sign(t.Context(), "", []byte("a")); err != nil {
		t.Errorf("Sign with the version enabled again: %v", err)
	}
}

func TestClosedProviderRefuses(t *testing.T) {
	server := newServer(t, gcp.Options{Plaintext: true}, gcp.Ed25519)
	provider := openKey(t, newConfig(server))
	must(t, provider.Close())
	before := server.Faults.Calls("")
	_, err := provider.Sign(t.Context(), "", nil)
	mustFail(t, "Sign", err, capsign.ProviderUnavailable)
	if want := "gcpkms: sign after close: provider_unavailable"; err.Error() != want {
		t.Errorf("Sign: %q, want %q", err, want)
	}
	_, err = provider.Generate(t.Context())
	mustFail(t, "Generate", err, capsign.ProviderUnavailable)
	if n := server.Faults.Calls("") - before; n != 0 {
		t.Errorf("%d calls after Close", n)
	}
}

func TestConfigFromEnvironment(t *testing.T) {
	variables := map[string]string{"GCP_PROJECT": "p", "GCP_KEYRING": "r", "GCP_KEY": "k", "GCP_KEY_VERSION": "3"}
	getenv := func(name string) string { return variables[name] }
	cfg, ok := ConfigFromEnvironment(getenv)
	key, err := cfg.keyPath("test")
	if want := "projects/p/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/3"; !ok || err != nil || key.pinned != want {
		t.Errorf("pinned %s, %v, %v; want %s", key.pinned, ok, err, want)
	}
	delete(variables, "GCP_KEY")
	if _, ok := ConfigFromEnvironment(getenv); ok {
		t.Error("a configuration without a key")
	}
}
