package awskms

import (
	"context"
	"crypto"
	"errors"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/aws"
	"github.com/capsign/cap/internal/kmstest/fault"
)

const (
	testAlias   = "alias/cap-signer"
	testKeyName = "cap-signing"
)

// newServer starts a service that the test stops, and gives the test's process
// credentials for it.
func newServer(t testing.TB, options aws.Options) *aws.Server {
	t.Helper()
	server, err := aws.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, server.Close()) })
	withoutCredentials(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
	return server
}

// withoutCredentials leaves the test's process an SDK that finds nothing.
func withoutCredentials(t testing.TB) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE",
		"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KMS", "AWS_CA_BUNDLE", "AWS_ROLE_ARN",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		t.Setenv(name, "")
	}
	nowhere := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", nowhere)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", nowhere)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// configFor returns the configuration of a key on the server.
func configFor(server *aws.Server, key string) Config {
	return Config{Region: server.Region(), Key: key, KeyName: testKeyName, CallTimeout: 2 * time.Second,
		Endpoint: server.Endpoint(), CAFile: server.Certificates().CAFile}
}

// open opens the key; the test closes it.
func open(t testing.TB, cfg Config) *Provider {
	t.Helper()
	provider, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { must(t, provider.Close()) })
	return provider
}

// addKey adds a key to the server.
func addKey(t testing.TB, server *aws.Server, alias, spec string, private crypto.Signer) string {
	t.Helper()
	arn, err := server.AddKey(alias, spec, private)
	must(t, err)
	return arn
}

// must ends the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mustWrap says that an error wraps the code.
func mustWrap(t testing.TB, what string, err error, want capsign.Code) {
	t.Helper()
	if code, _ := errors.AsType[capsign.Code](err); code != want {
		t.Errorf("%s = %v, want %s", what, err, want)
	}
}

// mustSign signs with a deadline and verifies the signature.
func mustSign(t testing.TB, provider *Provider, kid string, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	msg := []byte("a message")
	sig, err := provider.Sign(ctx, kid, msg)
	if err != nil {
		t.Fatalf("Sign: %v", err)
	}
	key, err := provider.PublicKey(ctx, sig.KID)
	must(t, err)
	must(t, key.Verify(msg, sig.Bytes))
}

// mustNotSign says that Sign fails with the code within the time.
func mustNotSign(t testing.TB, provider *Provider, within time.Duration, want capsign.Code) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	sig, err := provider.Sign(ctx, "", []byte("a message"))
	mustWrap(t, "Sign", err, want)
	if sig.KID != "" || sig.Alg != "" || sig.Bytes != nil {
		t.Errorf("Sign gave %+v beside its error", sig)
	}
}

func TestAKeyHasOneKIDHoweverItIsNamed(t *testing.T) {
	server := newServer(t, aws.Options{})
	arn := addKey(t, server, testAlias, aws.P256, nil)
	kids := make(map[string]string)
	for _, key := range []string{testAlias, aliasARN(arn, testAlias), keyID(arn), arn} {
		provider := open(t, configFor(server, key))
		mustSign(t, provider, "", 5*time.Second)
		kid, err := provider.CurrentKID(t.Context())
		must(t, err)
		found, err := provider.PublicKey(t.Context(), kid)
		must(t, err)
		if found.Class != capsign.ClassCloud || found.Backend != "aws" || found.Version != keyID(arn) {
			t.Errorf("by %s: class %s, backend %s, version %s", key, found.Class, found.Backend, found.Version)
		}
		kids[kid] = key
	}
	if len(kids) != 1 {
		t.Errorf("kids %v, want one", kids)
	}
}

// keyID returns the key id in a key ARN.
func keyID(arn string) string { return arn[len(arn)-36:] }

// aliasARN returns the ARN of an alias in the same account.
func aliasARN(arn, alias string) string { return arn[:len(arn)-36-len("key/")] + alias }

// The versions of an alias are pinned when they are found.
func TestMovingAnAliasMovesNoVersion(t *testing.T) {
	server := newServer(t, aws.Options{})
	addKey(t, server, testAlias, aws.P256, nil)
	provider := open(t, configFor(server, testAlias))
	before, err := provider.ListKIDs(t.Context())
	must(t, err)
	server.Point(testAlias, addKey(t, server, "", aws.P256, nil))
	mustSign(t, provider, before[0], 5*time.Second)
	must(t, provider.Reload(t.Context()))
	mustSign(t, provider, before[0], 5*time.Second)
	after, err := provider.ListKIDs(t.Context())
	must(t, err)
	current, err := provider.CurrentKID(t.Context())
	if err != nil || len(after) != 2 || after[0] != before[0] || current != before[0] {
		t.Errorf("kids %v became %v, current %s, %v", before, after, current, err)
	}
}

// A version that is retired at the service must not keep a worker from
// starting, and the newest must not be passed over in silence.
func TestDisabledVersionsAreLeftOut(t *testing.T) {
	server := newServer(t, aws.Options{})
	var arns, kids []string
	for _, alias := range []string{testAlias, testAlias + "-2", testAlias + "-3"} {
		arns = append(arns, addKey(t, server, alias, aws.Ed25519, nil))
	}
	cfg := configFor(server, testAlias)
	kids, err := open(t, cfg).ListKIDs(t.Context())
	must(t, err)
	must(t, server.Disable(arns[0]))
	must(t, server.ScheduleDeletion(arns[1]))
	left, err := open(t, cfg).ListKIDs(t.Context())
	if err != nil || !slices.Equal(left, kids[2:]) {
		t.Errorf("kids %v, %v; want %v", left, err, kids[2:])
	}
	must(t, server.Enable(arns[0]))
	must(t, server.Disable(arns[2]))
	_, err = Open(t.Context(), cfg)
	mustWrap(t, "Open with the newest disabled", err, capsign.KeyDisabled)
}

func TestKeysThatDoNotSignAreRefused(t *testing.T) {
	server := newServer(t, aws.Options{})
	agreement := addKey(t, server, "", aws.P256, nil)
	must(t, server.Use(agreement, "KEY_AGREEMENT"))
	for name, arn := range map[string]string{
		"P-521":           addKey(t, server, "", aws.P521, nil),
		"short RSA":       addKey(t, server, "", aws.RSA2048, nil),
		"a key agreement": agreement,
	} {
		_, err := Open(t.Context(), configFor(server, arn))
		mustWrap(t, "Open of "+name, err, capsign.UnsupportedAlg)
	}
}

// An answer in another key's name is refused whenever it comes.
func TestAnswersOfAnotherKeyAreRefusedAtOpen(t *testing.T) {
	server := newServer(t, aws.Options{})
	arn := addKey(t, server, testAlias, aws.P256, nil)
	server.Faults.Set(fault.Fault{Kind: fault.CorruptKeyID})
	for _, key := range []string{arn, keyID(arn)} {
		_, err := Open(t.Context(), configFor(server, key))
		mustWrap(t, "Open", err, capsign.Integrity)
	}
	server.Faults.Clear()
	elsewhere := "arn:aws:kms:" + server.Region() + ":999999999999:" + testAlias
	_, err := Open(t.Context(), configFor(server, elsewhere))
	mustWrap(t, "Open of another account's alias", err, capsign.KeyUnknown)
}

func TestClosedProviderSignsNothing(t *testing.T) {
	server := newServer(t, aws.Options{})
	addKey(t, server, testAlias, aws.P256, nil)
	provider := open(t, configFor(server, testAlias))
	must(t, provider.Close())
	must(t, provider.Close())
	mustNotSign(t, provider, time.Second, capsign.ProviderUnavailable)
}

// What Open starts, Close ends.
func TestCloseLeavesNothingBehind(t *testing.T) {
	for name, options := range map[string]aws.Options{"HTTP2": {}, "HTTP1": {HTTP1: true}} {
		server := newServer(t, options)
		addKey(t, server, testAlias, aws.P256, nil)
		before := runtime.NumGoroutine()
		for range 3 {
			provider, err := Open(t.Context(), configFor(server, testAlias))
			must(t, err)
			signAtOnce(t, provider, 16, 5*time.Second)
			must(t, provider.Close())
			_, err = Open(t.Context(), configFor(server, "alias/nobody"))
			mustWrap(t, "Open", err, capsign.KeyUnknown)
		}
		for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d goroutines became %d", name, before, runtime.NumGoroutine())
			}
		}
	}
}
