package azurekms

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"slices"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/azure"
	"github.com/capsign/cap/internal/kmstest/fault"
	"github.com/capsign/cap/internal/providers/retry"
)

// versionOf returns the vault's id of a kid's version.
func versionOf(t *testing.T, provider *Provider, kid string) string {
	t.Helper()
	key, err := provider.PublicKey(t.Context(), kid)
	must(t, err)
	return key.Version
}

// currentVersion returns the vault's id of the current version.
func currentVersion(t *testing.T, provider *Provider) string {
	t.Helper()
	kid, err := provider.CurrentKID(t.Context())
	must(t, err)
	return versionOf(t, provider, kid)
}

func TestAllUsableVersionsAreHeldInOrder(t *testing.T) {
	now := time.Now()
	vault := newVault(t, azure.Options{Clock: func() time.Time { return now }})
	var want []string
	for range 60 { // three pages
		now = now.Add(time.Second)
		id, err := vault.AddKey(keyName, capsign.ES256, nil)
		must(t, err)
		want = append(want, id)
	}
	vault.Disable(keyName, want[58])
	vault.SetAttributes(keyName, want[59], azure.Attributes{NotBefore: now.Add(time.Hour)})
	vault.SetAttributes(keyName, want[0], azure.Attributes{Expires: now})
	vault.SetAttributes(keyName, want[1], azure.Attributes{Ops: []string{"verify"}})
	want = want[2:58]

	cfg := configOf(vault)
	cfg.now = func() time.Time { return now }
	provider := open(t, cfg)
	kids, err := provider.ListKIDs(t.Context())
	must(t, err)
	var got []string
	for _, kid := range kids {
		got = append(got, versionOf(t, provider, kid))
	}
	if !slices.Equal(got, want) {
		t.Errorf("versions %v, want %v", got, want)
	}
	if got := currentVersion(t, provider); got != want[55] {
		t.Errorf("current is %s, want %s", got, want[55])
	}
	if key, err := provider.PublicKey(t.Context(), kids[0]); err != nil || key.Class != capsign.ClassCloud || key.Backend != "azure" {
		t.Errorf("class %q, backend %q, %v", key.Class, key.Backend, err)
	}
}

// Two versions of one second come in the order of their ids, at every worker.
func TestVersionsOfOneSecond(t *testing.T) {
	now := time.Now()
	vault := newVault(t, azure.Options{Clock: func() time.Time { return now }})
	var ids []string
	for range 8 {
		id, err := vault.AddKey(keyName, capsign.ES256, nil)
		must(t, err)
		ids = append(ids, id)
	}
	if got, want := currentVersion(t, open(t, configOf(vault))), slices.Max(ids); got != want {
		t.Errorf("current is %s, want %s", got, want)
	}
}

func TestPinnedVersion(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	pinned := vault.Versions(keyName)[0]
	_, err := vault.AddVersion(keyName)
	must(t, err)
	cfg.Version = pinned
	provider := open(t, cfg)
	if kids, err := provider.ListKIDs(t.Context()); err != nil || len(kids) != 1 || currentVersion(t, provider) != pinned {
		t.Errorf("held %v, %v", kids, err)
	}
	vault.Disable(keyName, pinned)
	mustNotOpen(t, "a pinned version that is disabled", cfg, capsign.KeyDisabled)
	cfg.Version = "0123456789abcdef0123456789abcdef"
	mustNotOpen(t, "a version that is not there", cfg, capsign.KeyUnknown)
}

// A rotation in the vault changes nothing for an open provider.
func TestRotationElsewhere(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	cfg.Version = latest
	provider := open(t, cfg)
	before := mustSign(t, provider, "").KID
	made, err := vault.AddVersion(keyName)
	must(t, err)
	if after := mustSign(t, provider, "").KID; after != before {
		t.Errorf("%s became %s", before, after)
	}
	must(t, provider.Reload(t.Context()))
	kids, err := provider.ListKIDs(t.Context())
	if err != nil || len(kids) != 2 || mustSign(t, provider, "").KID != before {
		t.Errorf("after Reload: %v, %v", kids, err)
	}
	for _, kid := range kids {
		mustSign(t, provider, kid)
	}
	if again := open(t, cfg); len(kids) == 2 && vault.Versions(keyName)[1] != made || !slices.Contains(kids, mustSign(t, again, "").KID) {
		t.Errorf("opened again, the current version is none of %v", kids)
	}
}

// A version that expires while it is held stops signing, and signs again once
// an operator extends it, without a restart.
func TestExpiryIsWatched(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	vault := newVault(t, azure.Options{Clock: clock})
	id, err := vault.AddKey(keyName, capsign.ES256, nil)
	must(t, err)
	until := now.Add(time.Hour).Truncate(time.Second)
	vault.SetAttributes(keyName, id, azure.Attributes{Expires: until})
	cfg := configOf(vault)
	cfg.now = clock
	provider := open(t, cfg)

	now = until.Add(-time.Nanosecond)
	mustSign(t, provider, "")
	now = until
	before := vault.Faults.Calls("Sign")
	_, err = provider.Sign(t.Context(), "", []byte("too late"))
	mustFail(t, "Sign with an expired version", err, capsign.KeyDisabled)
	if vault.Faults.Calls("Sign") != before {
		t.Error("the vault was asked all the same")
	}
	vault.Enable(keyName, id)
	vault.Faults.Set(fault.Fault{Kind: fault.WrongKey, Method: "GetKey"})
	_, err = provider.Sign(t.Context(), "", []byte("by whom?"))
	mustFail(t, "Sign with a version that became another key", err, capsign.Integrity)
	vault.Faults.Clear()
	mustSign(t, provider, "")
}

func TestOtherKeysAreRefused(t *testing.T) {
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	must(t, err)
	vault, cfg := newKey(t, capsign.ES256)
	_, err = vault.AddKey("p521", "", p521)
	must(t, err)
	for name, change := range map[string]struct {
		to   func(*Config)
		want capsign.Code
	}{
		"Ed25519":                {func(c *Config) { c.Alg = capsign.Ed25519 }, capsign.UnsupportedAlg},
		"an algorithm made up":   {func(c *Config) { c.Alg = "ES512" }, capsign.UnsupportedAlg},
		"a curve that cap lacks": {func(c *Config) { c.Key = "p521" }, capsign.UnsupportedAlg},
		"a key that is missing":  {func(c *Config) { c.Key = "missing" }, capsign.KeyUnknown},
		"no key":                 {func(c *Config) { c.Key = "" }, capsign.ConfigInvalid},
		"a key with a slash":     {func(c *Config) { c.Key = "a/b" }, capsign.ConfigInvalid},
		"no key name":            {func(c *Config) { c.KeyName = "" }, capsign.ConfigInvalid},
		"a number for a version": {func(c *Config) { c.Version = "3" }, capsign.ConfigInvalid},
		"http":                   {func(c *Config) { c.VaultURL = "http://127.0.0.1" }, capsign.ConfigInvalid},
		"an http endpoint":       {func(c *Config) { c.Endpoint = "http://127.0.0.1:80" }, capsign.ConfigInvalid},
		"a vault with a path":    {func(c *Config) { c.VaultURL += "/keys" }, capsign.ConfigInvalid},
		"a vault with a port":    {func(c *Config) { c.VaultURL += ":444" }, capsign.ConfigInvalid},
		"a user in the URL":      {func(c *Config) { c.VaultURL = "https://a:b@x.vault.azure.net" }, capsign.ConfigInvalid},
		"a CA file that is none": {func(c *Config) { c.CAFile = "version_test.go" }, capsign.ConfigInvalid},
		"a CA file not there":    {func(c *Config) { c.CAFile = "missing.pem" }, capsign.ConfigInvalid},
	} {
		changed := cfg
		change.to(&changed)
		mustNotOpen(t, name, changed, change.want)
	}
}

// What does not sign any more may be of any type: it is not looked at.
func TestRetiredVersionOfAnotherType(t *testing.T) {
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	must(t, err)
	vault := newVault(t, azure.Options{})
	retired, err := vault.AddKey(keyName, "", p521)
	must(t, err)
	_, err = vault.AddKey(keyName, capsign.ES384, nil)
	must(t, err)
	mustNotOpen(t, "with a version that cap has no algorithm for", configOf(vault), capsign.UnsupportedAlg)
	vault.Disable(keyName, retired)
	mustSign(t, open(t, configOf(vault)), "")
}

// An answer is about the version that was asked for, or it is nobody's.
func TestAnswersAboutOtherKeysAreRefused(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	provider := open(t, cfg)
	id := vault.Versions(keyName)[0]
	bundle, err := provider.client.get(t.Context(), "test", retry.Policy{}, id)
	must(t, err)
	if _, err := newVersion("test", cfg, bundle, id); err != nil {
		t.Fatal(err)
	}
	own := vault.VaultURL() + "/keys/" + keyName + "/"
	for name, kid := range map[string]azkeys.ID{
		"another vault's":   azkeys.ID("https://other.vault.azure.net/keys/" + keyName + "/" + id),
		"another key's":     azkeys.ID(vault.VaultURL() + "/keys/other/" + id),
		"another version's": azkeys.ID(own + "0123456789abcdef0123456789abcdef"),
		"no version's":      azkeys.ID(own),
		"no key's":          "",
		"over http":         azkeys.ID("http" + own[len("https"):] + id),
	} {
		changed := *bundle.Key
		changed.KID = &kid
		_, err := newVersion("test", cfg, azkeys.KeyBundle{Key: &changed, Attributes: bundle.Attributes}, id)
		mustFail(t, "an answer that is "+name, err, capsign.Integrity)
	}
	for name, empty := range map[string]azkeys.KeyBundle{
		"nothing": {}, "no attributes": {Key: bundle.Key}, "no key": {Attributes: bundle.Attributes},
		"no type": {Key: &azkeys.JSONWebKey{KID: bundle.Key.KID}, Attributes: bundle.Attributes},
	} {
		_, err := newVersion("test", cfg, empty, id)
		mustFail(t, "an answer with "+name, err, capsign.Integrity)
	}
}

func TestOneKeyInTwoVersionsIsRefused(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	vault := newVault(t, azure.Options{})
	for range 2 {
		_, err := vault.AddKey(keyName, capsign.ES256, private)
		must(t, err)
	}
	mustNotOpen(t, "one key in two versions", configOf(vault), capsign.KeyAmbiguous)
}

func TestConfigForAKeyID(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	for given, version := range map[string]string{
		"https://v.vault.azure.net/keys/cap-signer/" + id: id,
		"https://v.vault.azure.net/keys/cap-signer":       "",
		"https://v.vault.azure.net/keys/cap-signer/":      "",
	} {
		cfg, err := ConfigFor(given)
		if err != nil || cfg.VaultURL != "https://v.vault.azure.net" || cfg.Key != keyName || cfg.KeyName != keyName || cfg.Version != version {
			t.Errorf("%s: %+v, %v", given, cfg, err)
		}
	}
	for _, given := range []string{
		"", "cap-signer", "http://v.vault.azure.net/keys/cap-signer", "https://v.vault.azure.net/secrets/cap-signer",
		"https://v.vault.azure.net/keys/cap-signer/" + id + "/sign", "https://v.vault.azure.net/keys/cap-signer/1", "%",
	} {
		_, err := ConfigFor(given)
		mustFail(t, "ConfigFor "+given, err, capsign.ConfigInvalid)
	}
}
