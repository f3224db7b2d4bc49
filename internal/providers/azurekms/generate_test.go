package azurekms

import (
	"crypto/rand"
	"crypto/rsa"
	"slices"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/azure"
	"github.com/capsign/cap/internal/kmstest/fault"
)

func TestGenerateFirstAndFurtherVersions(t *testing.T) {
	for _, alg := range []capsign.Alg{"", capsign.ES256, capsign.ES384, capsign.PS256, capsign.RS256} {
		vault := newVault(t, azure.Options{})
		cfg := configOf(vault)
		cfg.Alg, cfg.CallTimeout = alg, 30*time.Second // the vault takes its time over RSA
		mustNotOpen(t, "no key yet", cfg, capsign.KeyUnknown)
		var made []string
		for range 2 {
			kid, err := Generate(t.Context(), cfg)
			if err != nil {
				t.Fatalf("Generate for %q: %v", alg, err)
			}
			made = append(made, kid)
		}
		provider := open(t, cfg)
		kids, err := provider.ListKIDs(t.Context())
		must(t, err)
		if !slices.Equal(slices.Sorted(slices.Values(kids)), slices.Sorted(slices.Values(made))) {
			t.Errorf("%q: held %v, made %v", alg, kids, made)
		}
		want := alg
		if want == "" {
			want = capsign.ES256
		}
		if sig := mustSign(t, provider, ""); sig.Alg != want {
			t.Errorf("%q: signs with %s", alg, sig.Alg)
		}
	}
}

func TestGenerateFromAnOpenProvider(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES384)
	provider := open(t, cfg)
	current := mustSign(t, provider, "").KID
	kid, err := provider.Generate(t.Context())
	must(t, err)
	if sig := mustSign(t, provider, kid); sig.KID != kid || sig.Alg != capsign.ES384 {
		t.Errorf("the new version signs as %s with %s", sig.KID, sig.Alg)
	}
	if kids, err := provider.ListKIDs(t.Context()); err != nil || !slices.Contains(kids, kid) || len(kids) != 2 {
		t.Errorf("held %v, %v", kids, err)
	}
	if now := mustSign(t, provider, "").KID; now != current {
		t.Errorf("current became %s", now)
	}
	if n := len(vault.Versions(keyName)); n != 2 {
		t.Errorf("%d versions in the vault", n)
	}
}

// A further version must not be of a lesser kind than the key's others.
func TestGenerateKeepsTheKind(t *testing.T) {
	vault := newVault(t, azure.Options{})
	private, err := rsa.GenerateKey(rand.Reader, 4096)
	must(t, err)
	id, err := vault.AddKey(keyName, capsign.RS256, private)
	must(t, err)
	vault.SetHardware(keyName, id)
	cfg := configOf(vault)
	cfg.Alg, cfg.CallTimeout = capsign.RS256, 30*time.Second
	provider := open(t, cfg)
	kid, err := provider.Generate(t.Context())
	must(t, err)
	made := provider.held.Load().versions[kid]
	if size := made.key.Public().(*rsa.PublicKey).Size(); size != 512 || made.kty != "RSA-HSM" || made.key.Alg != capsign.RS256 {
		t.Errorf("made %s of %d bytes for %s", made.kty, size, made.key.Alg)
	}
}

func TestGenerateIsNotTriedAgain(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	provider := open(t, cfg)
	for _, broken := range []struct {
		fault fault.Fault
		want  capsign.Code
	}{
		{fault.Fault{Kind: fault.Error, Code: fault.PermissionDenied, Method: "CreateKey"}, capsign.ProviderDenied},
		{fault.Fault{Kind: fault.Error, Code: fault.Unavailable, Method: "CreateKey"}, capsign.ProviderUnavailable},
		{fault.Fault{Kind: fault.Error, Code: fault.InvalidArgument, Method: "CreateKey"}, capsign.UnsupportedAlg},
		{fault.Fault{Kind: fault.Hang, Method: "CreateKey"}, capsign.ProviderTimeout},
	} {
		vault.Faults.Set(broken.fault)
		before := vault.Faults.Calls("CreateKey")
		kid, err := provider.Generate(t.Context())
		mustFail(t, "Generate", err, broken.want)
		if calls := vault.Faults.Calls("CreateKey") - before; kid != "" || calls != 1 {
			t.Errorf("%s: kid %q after %d calls", broken.want, kid, calls)
		}
	}
	vault.Faults.Clear()
	if n := len(vault.Versions(keyName)); n != 1 {
		t.Errorf("%d versions", n)
	}
	cfg.Alg = capsign.Ed25519
	_, err := Generate(t.Context(), cfg)
	mustFail(t, "Generate Ed25519", err, capsign.UnsupportedAlg)
}

// What was made must be what was asked for.
func TestGeneratedKeysAreLookedAt(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	provider := open(t, cfg)
	vault.MakeExportable(true)
	kid, err := provider.Generate(t.Context())
	mustFail(t, "Generate of a key that can be exported", err, capsign.Integrity)
	if kids, _ := provider.ListKIDs(t.Context()); kid != "" || len(kids) != 1 {
		t.Errorf("kid %q, held %v", kid, kids)
	}
}
