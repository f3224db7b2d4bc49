package providertest

import (
	"slices"
	"testing"

	"github.com/capsign/cap/internal/providers"
)

// generatedVersionsAreHeld makes a further version, where the provider can, and
// looks at it from all sides.
func generatedVersionsAreHeld(t *testing.T, cfg Config) {
	if cfg.NoGenerate {
		t.Skip("this key's versions are made elsewhere")
	}
	provider, other := cfg.open(t), cfg.open(t)
	before, current := listKIDs(t, provider), currentKID(t, provider)
	kid, err := provider.(providers.Generator).Generate(t.Context())
	if err != nil {
		t.Fatalf("Generate: %v", err)
	}
	if err := other.(providers.Generator).Reload(t.Context()); err != nil {
		t.Fatalf("Reload: %v", err)
	}
	for name, p := range map[string]providers.Provider{"the one that made it": provider, "one that was open": other} {
		if after := listKIDs(t, p); !slices.Equal(after, append(slices.Clone(before), kid)) {
			t.Errorf("%s lists %v, want %v and then %s", name, after, before, kid)
		}
		if now := currentKID(t, p); now != current {
			t.Errorf("%s: current became %s, want it to stay %s", name, now, current)
		}
		key := publicKey(t, p, kid)
		if key.KID != kid || key.Name != cfg.KeyName {
			t.Errorf("%s gives the key %s, %q for %s", name, key.KID, key.Name, kid)
		}
		mustVerify(t, key, message(32), sign(t, p, kid, message(32)))
		mustVerify(t, publicKey(t, p, current), message(32), sign(t, p, "", message(32)))
	}
	if now := currentKID(t, cfg.open(t)); now != kid {
		t.Errorf("opened again, the current version is %s, want %s", now, kid)
	}
}
