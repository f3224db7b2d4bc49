package awskms

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/aws"
	"github.com/capsign/cap/internal/kmstest/fault"
	"github.com/capsign/cap/internal/providers"
	"github.com/capsign/cap/internal/providers/providertest"
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

// rsaKeys are made once: they take their time.
var rsaKeys = sync.OnceValues(func() ([]crypto.Signer, error) {
	var keys []crypto.Signer
	for range 2 {
		key, err := rsa.GenerateKey(rand.Reader, 3072)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
})

// twoKeys returns private keys of the spec.
func twoKeys(t *testing.T, spec string) []crypto.Signer {
	t.Helper()
	switch spec {
	case aws.RSA3072:
		keys, err := rsaKeys()
		must(t, err)
		return keys
	case aws.Ed25519:
		var keys []crypto.Signer
		for range 2 {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			must(t, err)
			keys = append(keys, key)
		}
		return keys
	}
	return []crypto.Signer{nil, nil}
}

// signsNothing adds to a provider what the suite asks of every key and the
// service refuses: Ed25519 signatures of empty messages.
type signsNothing struct {
	*Provider
	t       *testing.T
	private ed25519.PrivateKey
}

func (p signsNothing) Sign(ctx context.Context, kid string, msg []byte) (capsign.Signature, error) {
	sig, err := p.Provider.Sign(ctx, kid, msg)
	if len(msg) > 0 || ctx.Err() != nil || kid == "" {
		return sig, err
	}
	mustWrap(p.t, "Sign of nothing", err, capsign.BadRequest)
	return capsign.Signature{KID: kid, Alg: capsign.Ed25519, Bytes: ed25519.Sign(p.private, nil)}, nil
}

func TestContract(t *testing.T) {
	for _, test := range []struct {
		alg    capsign.Alg
		spec   string
		within time.Duration // of a call: the server's keys cost what they cost
	}{
		{capsign.Ed25519, aws.Ed25519, 700 * time.Millisecond},
		{capsign.ES256, aws.P256, 700 * time.Millisecond},
		{capsign.ES384, aws.P384, time.Second},
		{capsign.PS256, aws.RSA3072, 2 * time.Second},
		{capsign.RS256, aws.RSA3072, 2 * time.Second},
	} {
		t.Run(string(test.alg), func(t *testing.T) {
			server := newServer(t, aws.Options{})
			keys := twoKeys(t, test.spec)
			first := addKey(t, server, testAlias, test.spec, keys[0])
			current := addKey(t, server, testAlias+"-2", test.spec, keys[1])
			cfg := configFor(server, testAlias)
			cfg.Alg, cfg.CallTimeout = test.alg, test.within
			suite := providertest.Config{
				Open:       func(ctx context.Context) (providers.Provider, error) { return Open(ctx, cfg) },
				ProviderID: capsign.ProviderCloudKMS,
				KeyName:    testKeyName,
				Alg:        test.alg,
				Class:      capsign.ClassCloud,
				Backend:    "aws",
				Signatures: 200,
				Faults:     faultsOf(server, first, current),
				Secrets: []string{current, "111122223333", "arn:", "127.0.0.1", "alias", "Exception", "operation error", "KMS",
					"https", "smithy", "x509", "dial", "deadline", cfg.CAFile},
			}
			if private, ok := keys[1].(ed25519.PrivateKey); ok {
				suite.MaxMessage, suite.Signatures = 4096, 1000
				suite.Open = func(ctx context.Context) (providers.Provider, error) {
					provider, err := Open(ctx, cfg)
					return signsNothing{provider, t, private}, err
				}
			}
			providertest.Run(t, suite)
		})
	}
}

// faultsOf are the ways in which a server breaks.
func faultsOf(server *aws.Server, first, current string) []providertest.Fault {
	scripted := func(f fault.Fault) func(*testing.T) {
		return func(*testing.T) { server.Faults.Set(f) }
	}
	clear := func(*testing.T) { server.Faults.Clear() }
	both := func(name string, f fault.Fault, code capsign.Code) providertest.Fault {
		return providertest.Fault{Name: name, Inject: scripted(f), Repair: clear, Sign: code, Open: code}
	}
	failing := func(name string, code fault.Code, want capsign.Code) providertest.Fault {
		return both(name, fault.Fault{Kind: fault.Error, Code: code}, want)
	}
	enable := func(t *testing.T) { must(t, server.Enable(current)) }
	present := func(certificate tls.Certificate) func(*testing.T) {
		return func(t *testing.T) {
			server.Stop()
			server.Present(certificate)
			must(t, server.Start())
		}
	}
	return []providertest.Fault{
		failing("KeyGone", fault.NotFound, capsign.KeyUnknown),
		failing("Denied", fault.PermissionDenied, capsign.ProviderDenied),
		failing("TokenExpired", fault.Unauthenticated, capsign.CredentialsInvalid),
		failing("SignatureWrong", "InvalidSignatureException", capsign.CredentialsInvalid),
		failing("ClientUnknown", "UnrecognizedClientException", capsign.CredentialsInvalid),
		failing("Throttled", fault.Throttled, capsign.Throttled),
		failing("LimitExceeded", "LimitExceededException", capsign.Throttled),
		failing("ProxyAnswers503", fault.Unavailable, capsign.ProviderUnavailable),
		failing("ServiceFails", fault.Internal, capsign.ProviderUnavailable),
		failing("DependencyTimesOut", fault.DeadlineExceeded, capsign.ProviderUnavailable),
		failing("KeyUnavailable", "KeyUnavailableException", capsign.ProviderUnavailable),
		failing("RequestComesBack", fault.InvalidArgument, capsign.UnsupportedAlg),
		failing("Unsupported", fault.Unimplemented, capsign.UnsupportedAlg),
		failing("NeverHeardOf", "SurpriseException", capsign.Internal),
		both("Hangs", fault.Fault{Kind: fault.Hang}, capsign.ProviderTimeout),
		both("IsTooSlow", fault.Fault{Kind: fault.Delay, Delay: time.Minute}, capsign.ProviderTimeout),
		both("AnswerIsCutOff", fault.Fault{Kind: fault.DropConnection}, capsign.ProviderUnavailable),
		{Name: "AnswerByAnotherKey", Inject: scripted(fault.Fault{Kind: fault.CorruptKeyID, Method: "Sign"}), Repair: clear,
			Sign: capsign.Integrity},
		{Name: "OneFailureThenFine", Inject: scripted(fault.Fault{Kind: fault.Error, Code: fault.Unavailable, Times: 1}), Repair: clear},
		{Name: "OneThrottledThenFine", Inject: scripted(fault.Fault{Kind: fault.Error, Code: fault.Throttled, Times: 1}), Repair: clear},
		{Name: "OneCutOffThenFine", Inject: scripted(fault.Fault{Kind: fault.DropConnection, Times: 1}), Repair: clear},
		{Name: "SlowButInTime", Inject: scripted(fault.Fault{Kind: fault.Delay, Delay: 20 * time.Millisecond}), Repair: clear},
		{Name: "CurrentDisabled", Inject: func(t *testing.T) { must(t, server.Disable(current)) }, Repair: enable,
			Sign: capsign.KeyDisabled, Open: capsign.KeyDisabled},
		{Name: "CurrentToBeDeleted", Inject: func(t *testing.T) { must(t, server.ScheduleDeletion(current)) }, Repair: enable,
			Sign: capsign.KeyDisabled, Open: capsign.KeyDisabled},
		{Name: "CurrentUsedForOtherThings", Inject: func(t *testing.T) { must(t, server.Use(current, "KEY_AGREEMENT")) },
			Repair: func(t *testing.T) { must(t, server.Use(current, "SIGN_VERIFY")) }, Sign: capsign.UnsupportedAlg, Open: capsign.UnsupportedAlg},
		{Name: "AliasMoved", Inject: func(*testing.T) { server.Point(testAlias, current) },
			Repair: func(*testing.T) { server.Point(testAlias, first) }, Open: capsign.KeyAmbiguous},
		{Name: "ServiceGone", Inject: func(*testing.T) { server.Stop() }, Repair: present(server.Certificates().Server),
			Sign: capsign.ProviderUnavailable, Open: capsign.ProviderUnavailable},
		{Name: "CertificateUntrusted", Inject: present(server.Certificates().Untrusted), Repair: present(server.Certificates().Server),
			Sign: capsign.TLSUntrusted, Open: capsign.TLSUntrusted},
		{Name: "CertificateOfAnotherHost", Inject: present(server.Certificates().Misnamed), Repair: present(server.Certificates().Server),
			Sign: capsign.TLSUntrusted, Open: capsign.TLSUntrusted},
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

// TestContractAtAWS runs the suite against the service itself, on a key that
// AWS_KMS_KEY_ARN names.
func TestConfigOfARealKey(t *testing.T) {
	arn := os.Getenv("AWS_KMS_KEY_ARN")
	if arn == "" {
		t.Skip("AWS_KMS_KEY_ARN names no key")
	}
	provider := open(t, Config{Key: arn, KeyName: testKeyName})
	mustSign(t, provider, "", 5*time.Second)
}
