package providertest

import (
	"slices"
	"strings"
	"testing"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
)

func kidsAreRecomputedFromTheKeys(t *testing.T, cfg Config) {
	provider := cfg.open(t)
	if got := provider.ProviderID(); got != cfg.ProviderID {
		t.Errorf("ProviderID = %q, want %q", got, cfg.ProviderID)
	}
	for _, kid := range listKIDs(t, provider) {
		key := publicKey(t, provider, kid)
		recomputed, err := capsign.KID(key.SPKI, cfg.ProviderID, cfg.KeyName)
		if err != nil {
			t.Fatalf("KID: %v", err)
		}
		if recomputed != kid || key.KID != kid {
			t.Errorf("the key listed as %s says %s and computes to %s", kid, key.KID, recomputed)
		}
		if key.Alg != cfg.Alg || key.Provider != cfg.ProviderID || key.Name != cfg.KeyName {
			t.Errorf("key is %s, %s, %q; want %s, %s, %q", key.Alg, key.Provider, key.Name, cfg.Alg, cfg.ProviderID, cfg.KeyName)
		}
		if key.Class != cfg.Class || key.Version == "" {
			t.Errorf("key is of class %q and version %q; want %s and some version", key.Class, key.Version, cfg.Class)
		}
		if key.Pool != "" || key.State != "" {
			t.Errorf("key has pool %q and state %q; a provider knows neither", key.Pool, key.State)
		}
	}
}

func kidsSurviveReopening(t *testing.T, cfg Config) {
	first, again := cfg.open(t), cfg.open(t)
	if a, b := listKIDs(t, first), listKIDs(t, again); !slices.Equal(a, b) {
		t.Errorf("kids %v became %v", a, b)
	}
	if a, b := currentKID(t, first), currentKID(t, again); a != b {
		t.Errorf("current kid %s became %s", a, b)
	}
}

func emptyKIDMeansCurrent(t *testing.T, cfg Config) {
	provider := cfg.open(t)
	kids, current := listKIDs(t, provider), currentKID(t, provider)
	if kids[len(kids)-1] != current {
		t.Errorf("current kid %s is not the last of %v", current, kids)
	}
	if sig := sign(t, provider, "", []byte("whoever is current")); sig.KID != current {
		t.Errorf("Sign for no kid signed with %s, want the current %s", sig.KID, current)
	}
}

func everyVersionSigns(t *testing.T, cfg Config) {
	provider := cfg.open(t)
	msg := []byte("an old version signs under its own kid")
	for _, kid := range listKIDs(t, provider) {
		sig := sign(t, provider, kid, msg)
		if sig.KID != kid {
			t.Errorf("asked %s, signed with %s", kid, sig.KID)
		}
		mustVerify(t, publicKey(t, provider, kid), msg, sig)
	}
}

func unknownKIDsAreRefused(t *testing.T, cfg Config) {
	provider := cfg.open(t)
	current := publicKey(t, provider, currentKID(t, provider))
	strangers := map[string]string{
		"another key name": kidUnderAnotherName(t, current),
		"upper case":       strings.Repeat("AB", 32),
		"cut short":        current.KID[:63],
		"one digit more":   current.KID + "0",
		"white space":      " " + current.KID,
		"SPKI fingerprint": current.SPKISHA256(),
		"thumbprint":       current.Thumbprint(),
		"key name":         cfg.KeyName,
		"zero byte":        current.KID + "\x00",
		"path":             "../../" + current.KID,
	}
	for name, kid := range strangers {
		sig, err := provider.Sign(t.Context(), kid, []byte("not yours"))
		cfg.mustRefuse(t, "Sign for "+name, sig, err, capsign.KIDUnknown)
	}
	strangers["nothing"] = ""
	for name, kid := range strangers {
		key, err := provider.PublicKey(t.Context(), kid)
		cfg.mustFail(t, "PublicKey of "+name, err, capsign.KIDUnknown)
		if key.KID != "" || key.Alg != "" || key.SPKI != nil || key.Public() != nil {
			t.Errorf("PublicKey of %s gave a key beside the error", name)
		}
	}
}

// kidUnderAnotherName returns a well-formed kid that nobody holds.
func kidUnderAnotherName(t *testing.T, key capsign.Key) string {
	t.Helper()
	kid, err := capsign.KID(key.SPKI, key.Provider, key.Name+"-other")
	if err != nil {
		t.Fatalf("KID: %v", err)
	}
	return kid
}

// listKIDs returns the kids of all versions, of which there must be one.
func listKIDs(t *testing.T, provider providers.Provider) []string {
	t.Helper()
	kids, err := provider.ListKIDs(t.Context())
	if err != nil || len(kids) == 0 {
		t.Fatalf("ListKIDs = %v, %v", kids, err)
	}
	if sorted := slices.Sorted(slices.Values(kids)); len(slices.Compact(sorted)) != len(kids) {
		t.Fatalf("ListKIDs = %v, with a kid twice", kids)
	}
	return kids
}

// currentKID returns the kid of the newest version.
func currentKID(t *testing.T, provider providers.Provider) string {
	t.Helper()
	kid, err := provider.CurrentKID(t.Context())
	if err != nil {
		t.Fatalf("CurrentKID: %v", err)
	}
	return kid
}

// publicKey returns the key version that kid names.
func publicKey(t *testing.T, provider providers.Provider, kid string) capsign.Key {
	t.Helper()
	key, err := provider.PublicKey(t.Context(), kid)
	if err != nil {
		t.Fatalf("PublicKey(%s): %v", kid, err)
	}
	return key
}
