package azurekms

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/azure"
	"github.com/capsign/cap/internal/kmstest/fault"
	"github.com/capsign/cap/internal/providers"
	"github.com/capsign/cap/internal/providers/providertest"
)

const keyName = "cap-signer"

// must stops the test at an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newVault starts a vault that the test closes.
func newVault(t testing.TB, opts azure.Options) *azure.Server {
	t.Helper()
	vault, err := azure.New(opts)
	must(t, err)
	t.Cleanup(vault.Close)
	return vault
}

// configOf returns the configuration of the key in the vault.
func configOf(vault *azure.Server) Config {
	return Config{
		VaultURL: vault.VaultURL(), Endpoint: vault.Endpoint(), CAFile: vault.CAFile(), Credential: vault.Credential(),
		Key: keyName, KeyName: "cap-signing", CallTimeout: 1500 * time.Millisecond,
	}
}

// newKey starts a vault with one version of a key for alg.
func newKey(t testing.TB, alg capsign.Alg) (*azure.Server, Config) {
	t.Helper()
	vault := newVault(t, azure.Options{})
	_, err := vault.AddKey(keyName, alg, nil)
	must(t, err)
	return vault, configOf(vault)
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

// mustFail says that err wraps the code.
func mustFail(t *testing.T, what string, err error, want capsign.Code) {
	t.Helper()
	if code, _ := errors.AsType[capsign.Code](err); code != want {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}

// mustNotOpen says that Open fails with the code.
func mustNotOpen(t *testing.T, what string, cfg Config, want capsign.Code) {
	t.Helper()
	provider, err := Open(t.Context(), cfg)
	mustFail(t, "Open "+what, err, want)
	if provider != nil {
		t.Errorf("Open %s gave a provider", what)
		_ = provider.Close()
	}
}

// mustSign says that the provider signs with a version of its own choice.
func mustSign(t testing.TB, provider *Provider, kid string) capsign.Signature {
	t.Helper()
	msg := []byte("to be signed")
	sig, err := provider.Sign(t.Context(), kid, msg)
	if err != nil {
		t.Fatalf("Sign: %v", err)
	}
	key, err := provider.PublicKey(t.Context(), sig.KID)
	must(t, err)
	if err := key.Verify(msg, sig.Bytes); err != nil {
		t.Errorf("Verify: %v", err)
	}
	return sig
}

func TestContract(t *testing.T) {
	var shared [3]crypto.Signer // RSA keys take a second each to make
	for i := range shared {
		key, err := rsa.GenerateKey(rand.Reader, 3072)
		must(t, err)
		shared[i] = key
	}
	for _, alg := range []capsign.Alg{capsign.ES256, capsign.ES384, capsign.PS256, capsign.RS256} {
		t.Run(string(alg), func(t *testing.T) {
			isRSA := strings.HasSuffix(string(alg), "S256") && alg != capsign.ES256
			vault := newVault(t, azure.Options{})
			for _, private := range shared {
				if !isRSA {
					private = nil
				}
				_, err := vault.AddKey(keyName, alg, private)
				must(t, err)
			}
			cfg := configOf(vault)
			cfg.Alg = alg
			cfg.CallTimeout = 10 * time.Second // the machine may be busy, and the race detector slow
			faults, signatures, callers := vaultFaults(vault), 1000, 64
			if alg == capsign.ES256 { // hanging costs the whole timeout, and is the same for all
				cfg.CallTimeout = 2 * time.Second
				faults = append(faults, hanging(vault))
			} else { // milliseconds of CPU each
				signatures, callers = 100, 16
			}
			providertest.Run(t, providertest.Config{
				Open:       func(ctx context.Context) (providers.Provider, error) { return Open(ctx, cfg) },
				ProviderID: capsign.ProviderCloudKMS,
				KeyName:    cfg.KeyName,
				Alg:        alg,
				Class:      capsign.ClassCloud,
				Backend:    "azure",
				Signatures: signatures,
				Callers:    callers,
				Faults:     faults,
				Secrets: []string{
					"vault.azure.net", "cap-test", "127.0.0.1", strings.TrimPrefix(vault.Addr(), "127.0.0.1"), "72f988bf", cfg.Key,
					"token-", "Bearer", "Forbidden", "RESPONSE", "request was not processed", "appid", "AKV", "x509", "innererror",
				},
			})
		})
	}
}

// hanging is a vault that takes requests and does not answer.
func hanging(vault *azure.Server) providertest.Fault {
	return providertest.Fault{
		Name: "hangs", Sign: capsign.ProviderTimeout, Open: capsign.ProviderTimeout,
		Inject: func(*testing.T) { vault.Faults.Set(fault.Fault{Kind: fault.Hang}) },
		Repair: func(*testing.T) { vault.Faults.Clear() },
	}
}

// vaultFaults are the ways in which a vault breaks under an open provider.
func vaultFaults(vault *azure.Server) []providertest.Fault {
	scripted := func(name string, sign, open capsign.Code, faults ...fault.Fault) providertest.Fault {
		return providertest.Fault{
			Name: name, Sign: sign, Open: open,
			Inject: func(*testing.T) { vault.Faults.Set(faults...) },
			Repair: func(*testing.T) { vault.Faults.Clear() },
		}
	}
	refusing := func(name string, as fault.Code, want capsign.Code) providertest.Fault {
		return scripted(name, want, want, fault.Fault{Kind: fault.Error, Code: as})
	}
	faults := []providertest.Fault{
		refusing("key not found", fault.NotFound, capsign.KeyUnknown),
		refusing("permission denied", fault.PermissionDenied, capsign.ProviderDenied),
		refusing("unauthenticated", fault.Unauthenticated, capsign.CredentialsInvalid),
		refusing("throttled", fault.Throttled, capsign.Throttled),
		refusing("unavailable", fault.Unavailable, capsign.ProviderUnavailable),
		refusing("internal", fault.Internal, capsign.ProviderUnavailable),
		refusing("gateway timeout", fault.DeadlineExceeded, capsign.ProviderUnavailable),
		scripted("disabled meanwhile", capsign.KeyDisabled, "", fault.Fault{Kind: fault.Error, Code: fault.Disabled, Method: "Sign"}),
		scripted("bad parameter", capsign.UnsupportedAlg, capsign.Internal, fault.Fault{Kind: fault.Error, Code: fault.InvalidArgument}),
		scripted("throttled for long", capsign.Throttled, capsign.Throttled, fault.Fault{Kind: fault.Error, Code: fault.Throttled, RetryAfter: time.Minute}),
		scripted("slow", "", "", fault.Fault{Kind: fault.Delay, Delay: 20 * time.Millisecond}),
		scripted("connections drop", capsign.ProviderUnavailable, capsign.ProviderUnavailable, fault.Fault{Kind: fault.DropConnection}),
		scripted("one connection drops", "", "", fault.Fault{Kind: fault.DropConnection, Times: 1}),
		scripted("other version answers", capsign.Integrity, capsign.Integrity, fault.Fault{Kind: fault.CorruptKeyID}),
		scripted("only signing denied", capsign.ProviderDenied, "", fault.Fault{Kind: fault.Error, Code: fault.PermissionDenied, Method: "Sign"}),
		scripted("only listing denied", "", capsign.ProviderDenied, fault.Fault{Kind: fault.Error, Code: fault.PermissionDenied, Method: "ListVersions"}),
	}
	return append(faults, stateFaults(vault)...)
}

// stateFaults are those that are not scripted.
func stateFaults(vault *azure.Server) []providertest.Fault {
	nothing := func(*testing.T) {}
	attributes := func(to azure.Attributes) func(*testing.T) {
		return func(t *testing.T) {
			for _, id := range vault.Versions(keyName) {
				vault.SetAttributes(keyName, id, to)
			}
		}
	}
	return []providertest.Fault{
		{Name: "disabled", Sign: capsign.KeyDisabled, Open: capsign.KeyDisabled,
			Inject: attributes(azure.Attributes{Disabled: true}), Repair: attributes(azure.Attributes{})},
		{Name: "expired", Sign: capsign.KeyDisabled, Open: capsign.KeyDisabled,
			Inject: attributes(azure.Attributes{Expires: time.Now().Add(-time.Hour)}), Repair: attributes(azure.Attributes{})},
		{Name: "not valid yet", Sign: capsign.KeyDisabled, Open: capsign.KeyDisabled,
			Inject: attributes(azure.Attributes{NotBefore: time.Now().Add(time.Hour)}), Repair: attributes(azure.Attributes{})},
		{Name: "tokens revoked", Sign: capsign.CredentialsInvalid,
			Inject: func(*testing.T) { vault.Revoke() }, Repair: nothing},
		{Name: "certificate of another authority", Open: capsign.TLSUntrusted,
			Inject: func(t *testing.T) { vault.Present(fault.TLS(t).Untrusted) }, Repair: func(*testing.T) { vault.PresentOwn() }},
	}
}
