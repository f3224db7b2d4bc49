package cli

import (
	"crypto/ed25519"
	"path/filepath"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

func TestWhatAnotherProcessHasLearntIsNotTakenBack(t *testing.T) {
	first, second := twoKeyrings(t)
	trust := capsign.Trust{Roots: first.Keyring().Roots.Fingerprints()}
	path := filepath.Join(t.TempDir(), "state", "keyring.json")
	late := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	newer := belief{rotation.Mark{Signed: second, Trust: trust, LatestSeen: late}, path}
	older := belief{rotation.Mark{Signed: first, Trust: trust, LatestSeen: late.Add(-time.Hour)}, path}
	for _, b := range []belief{newer, older} {
		if err := b.keep(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := rotation.LoadMark(path)
	if err != nil || got.Signed.Hash() != second.Hash() || !got.LatestSeen.Equal(late) {
		t.Errorf("version %d at %s is kept, %v", got.Signed.Keyring().Version, got.LatestSeen, err)
	}
}

// twoKeyrings returns a first keyring and its successor.
func twoKeyrings(t *testing.T) (first, second *capsign.SignedKeyring) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	root, err := rotation.SoftwareRoot(private)
	must(t, err)
	spki, err := capsign.MarshalPublicKey(public)
	must(t, err)
	key, err := capsign.NewKey(capsign.Ed25519, spki, capsign.ProviderSoftware, "test-key")
	must(t, err)
	key.Pool = "default"
	change := rotation.Change{Reason: "test", Now: time.Now()}
	roots := capsign.Roots{Threshold: 1, Keys: []capsign.RootKey{root.Public()}}
	k, err := rotation.Init(roots, []capsign.KeyRotation{rotation.FirstVersion(key)}, change)
	must(t, err)
	first, err = rotation.Sign(t.Context(), k, root)
	must(t, err)
	k, err = rotation.Renew(first, change)
	must(t, err)
	second, err = rotation.Sign(t.Context(), k, root)
	must(t, err)
	return first, second
}

// must ends the test where there is an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhereTheKeyringIsRemembered(t *testing.T) {
	for name, tc := range map[string]struct {
		flag, env, xdg, home string
		want                 string
		named                bool
	}{
		"the flag":             {"a.json", "b.json", "/xdg", "/home/me", "a.json", true},
		"the variable":         {"", "b.json", "/xdg", "/home/me", "b.json", true},
		"XDG's directory":      {"", "", "/xdg", "/home/me", "/xdg/cap/keyring.json", false},
		"XDG's, not absolute":  {"", "", "xdg", "/home/me", "/home/me/.local/state/cap/keyring.json", false},
		"home":                 {"", "", "", "/home/me", "/home/me/.local/state/cap/keyring.json", false},
		"no home":              {"", "", "", "", "", false},
		"home is no directory": {"", "", "", "/dev/null", "", false},
	} {
		t.Setenv("CAP_STATE", tc.env)
		t.Setenv("XDG_STATE_HOME", tc.xdg)
		t.Setenv("HOME", tc.home)
		path, named := (&trustFlags{state: tc.flag}).statePath()
		if path != tc.want || named != tc.named {
			t.Errorf("%s: %q, %t; want %q, %t", name, path, named, tc.want, tc.named)
		}
	}
}

func TestLengthsOfTime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30d": 30 * day, "1d": day, "1d12h": 36 * time.Hour, "36h": 36 * time.Hour, "90m": 90 * time.Minute, "2s": 2 * time.Second,
		"0d1s": time.Second, "36500d": 36500 * day, "1ns": 1,
		"": 0, "0s": 0, "0d": 0, "d": 0, "-1d": 0, "1.5d": 0, "-1h": 0, "1d-1h": 0, "30": 0, "1h1d": 0, "1d1d": 0, "107000d": 0, "x": 0,
		"65535d": 65535 * day, "99999999999d": 0, "+1d": 0,
	} {
		var d days
		err := d.Set(text)
		if got := time.Duration(d); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
}

func TestHowLongUntil(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "1 h ago", 0: "now", time.Millisecond: "in 1 s", 59 * time.Second: "in 59 s", 61 * time.Second: "in 1 min",
		90 * time.Minute: "in 1 h 30 min", 47 * time.Hour: "in 47 h 0 min", 48 * time.Hour: "in 2 days", 30*day + 5*time.Hour: "in 30 days 5 h",
	} {
		if got := until(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}
