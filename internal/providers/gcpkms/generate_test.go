package gcpkms

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/fault"
	"github.com/capsign/cap/internal/kmstest/gcp"
)

func TestGeneratedVersionSignsAtOnceAndIsCurrentLater(t *testing.T) {
	server := newServer(t, gcp.Options{Plaintext: true, Pending: 150 * time.Millisecond}, gcp.P256)
	provider, other := openKey(t, newConfig(server)), openKey(t, newConfig(server))
	before := provider.current
	kid, err := provider.Generate(t.Context())
	must(t, err)
	if kids, _ := provider.ListKIDs(t.Context()); !slices.Equal(kids, []string{before, kid}) || provider.current != before {
		t.Errorf("kids %v, current %s; want %s, then %s", kids, provider.current, before, kid)
	}
	sig, err := provider.Sign(t.Context(), kid, []byte("a"))
	must(t, err)
	mustVerify(t, provider, []byte("a"), sig)

	if _, err := other.Sign(t.Context(), kid, nil); !errors.Is(err, capsign.KIDUnknown) {
		t.Errorf("another provider before Reload: %v", err)
	}
	must(t, other.Reload(t.Context()))
	if _, err := other.Sign(t.Context(), kid, []byte("a")); err != nil || other.current != before {
		t.Errorf("another provider after Reload: %v, current %s", err, other.current)
	}
	if again := openKey(t, newConfig(server)); again.current != kid {
		t.Errorf("opened again, %s is current; want %s", again.current, kid)
	}
}

func TestGenerateMakesTheFirstVersion(t *testing.T) {
	server := gcp.New(t, gcp.Options{Plaintext: true})
	server.AddEmptyKey(keyID, gcp.Ed25519)
	kid, err := Generate(t.Context(), newConfig(server))
	must(t, err)
	if provider := openKey(t, newConfig(server)); provider.current != kid {
		t.Errorf("Generate said %s, the key says %s", kid, provider.current)
	}
}

func TestGenerateRefuses(t *testing.T) {
	server := newServer(t, gcp.Options{Plaintext: true, Pending: time.Hour}, gcp.P256)
	provider := openKey(t, newConfig(server))
	_, err := provider.Generate(within(t, 200*time.Millisecond))
	mustFail(t, "a version that takes an hour", err, capsign.ProviderTimeout)

	server.Faults.Set(fault.Fault{Kind: fault.Error, Code: fault.Unavailable, Method: "CreateCryptoKeyVersion"})
	_, err = provider.Generate(t.Context())
	mustFail(t, "KMS that is away", err, capsign.ProviderUnavailable)
	if n := server.Faults.Calls("CreateCryptoKeyVersion"); n != 2 {
		t.Errorf("%d versions were asked for, want 2: a second try could make a second version", n)
	}
	server.Faults.Clear()
	missing := newConfig(server)
	missing.Key = "other"
	_, err = Generate(t.Context(), missing)
	mustFail(t, "no such key", err, capsign.KeyUnknown)
	if kids, _ := provider.ListKIDs(t.Context()); len(kids) != 1 {
		t.Errorf("%d versions are held after refusals", len(kids))
	}
}

func TestManyGenerateReloadAndSignAtOnce(t *testing.T) {
	server := newServer(t, gcp.Options{Plaintext: true}, gcp.P256)
	cfg := newConfig(server)
	cfg.CallTimeout = 10 * time.Second
	provider := openKey(t, cfg)
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			kid, err := provider.Generate(t.Context())
			if err == nil {
				_, err = provider.Sign(t.Context(), kid, []byte("a"))
			}
			if err = errors.Join(err, provider.Reload(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	if kids, _ := provider.ListKIDs(t.Context()); len(kids) != 9 {
		t.Errorf("%d versions, want 9", len(kids))
	}
}
