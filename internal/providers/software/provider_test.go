package software

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
	"github.com/capsign/cap/internal/providers/providertest"
)

// newConfig returns a configuration with a key directory of its own.
func newConfig(t testing.TB, alg capsign.Alg) Config {
	dir := filepath.Join(t.TempDir(), "keys")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return Config{Dir: dir, KeyName: "cap-signing", Alg: alg}
}

// withPassphrase encrypts cfg's files, at a cost that suits tests.
func withPassphrase(cfg Config) Config {
	cfg.Passphrase = []byte("correct horse battery staple")
	cfg.workFactor = 4
	return cfg
}

// generate makes a key version.
func generate(t testing.TB, cfg Config) string {
	t.Helper()
	kid, err := Generate(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Generate: %v", err)
	}
	return kid
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

// place puts a key file where version n of cfg's key belongs.
func place(t testing.TB, cfg Config, n int, content []byte) string {
	t.Helper()
	path := filepath.Join(cfg.Dir, (&keyDir{cfg: cfg}).fileName(n))
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// testdata returns a file of testdata.
func testdata(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestContract(t *testing.T) {
	for name, cfg := range map[string]Config{
		"Ed25519":           newConfig(t, ""),
		"P-256":             newConfig(t, capsign.ES256),
		"Ed25519 encrypted": withPassphrase(newConfig(t, capsign.Ed25519)),
		"P-256 encrypted":   withPassphrase(newConfig(t, capsign.ES256)),
		"a name for tokens": renamed(newConfig(t, ""), "releases/2026 Ä.1"),
	} {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				generate(t, cfg)
			}
			providertest.Run(t, providertest.Config{
				Open:       func(ctx context.Context) (providers.Provider, error) { return Open(ctx, cfg) },
				ProviderID: capsign.ProviderSoftware,
				KeyName:    cfg.KeyName,
				Alg:        cmp.Or(cfg.Alg, capsign.Ed25519),
				Class:      capsign.ClassSoftware,
				Backend:    "software",
				Signatures: 500,
				Faults:     fileFaults(cfg),
				Secrets:    []string{cfg.Dir, "correct", ".pem", "no such file", "permission"},
			})
		})
	}
}

// renamed gives cfg's key another name.
func renamed(cfg Config, name string) Config {
	cfg.KeyName = name
	return cfg
}

// fileFaults are the ways in which key files break under an open provider,
// which has read them already.
func fileFaults(cfg Config) []providertest.Fault {
	path := filepath.Join(cfg.Dir, (&keyDir{cfg: cfg}).fileName(2))
	chmod := func(path string, mode os.FileMode) func(*testing.T) {
		return func(t *testing.T) { must(t, os.Chmod(path, mode)) }
	}
	rename := func(from, to string) func(*testing.T) {
		return func(t *testing.T) { must(t, os.Rename(from, to)) }
	}
	return []providertest.Fault{
		{Name: "FileOpenToOthers", Inject: chmod(path, 0o644), Repair: chmod(path, 0o600), Open: capsign.KeyFileUnsafe},
		{Name: "DirectoryOpenToOthers", Inject: chmod(cfg.Dir, 0o777), Repair: chmod(cfg.Dir, 0o700), Open: capsign.KeyFileUnsafe},
		{Name: "DirectoryGone", Inject: rename(cfg.Dir, cfg.Dir+".gone"), Repair: rename(cfg.Dir+".gone", cfg.Dir), Open: capsign.KeyUnknown},
		{Name: "FileReplacedByDirectory",
			Inject: func(t *testing.T) { rename(path, path+".away")(t); must(t, os.Mkdir(path, 0o700)) },
			Repair: func(t *testing.T) { must(t, os.Remove(path)); rename(path+".away", path)(t) },
			Open:   capsign.KeyFileUnsafe},
	}
}

// must stops the test on a failure of its own surroundings.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The kids of the files in testdata under the name "cap-signing", computed by
// ../../../capsign/testdata/kid_vectors.py.
const (
	rfc8410KID = "46323f93e9d05406bb57c4b2ca9821f4cbffd12d0128c8c124272387153bb5d9"
	p256KID    = "eff4fb3483a69248966deb6c77e92d0400bb53d1a0a72856e1a8018e1e0727e2"
)

func TestSameKeySameKIDForEver(t *testing.T) {
	passphrase := []byte("correct horse")
	for _, file := range []struct {
		name       string
		content    []byte
		passphrase []byte
		kid        string
	}{
		{"RFC 8410 version 1", testdata(t, "rfc8410-v1.pem"), nil, rfc8410KID},
		{"RFC 8410 version 2 with attributes and public key", testdata(t, "rfc8410-v2.pem"), nil, rfc8410KID},
		{"encrypted by the age program", testdata(t, "rfc8410.age.pem"), passphrase, rfc8410KID},
		{"DER", derOf(t, "rfc8410-v1.pem"), nil, rfc8410KID},
		{"DER version 2", derOf(t, "rfc8410-v2.pem"), nil, rfc8410KID},
		{"CRLF", crlf(testdata(t, "rfc8410-v1.pem")), nil, rfc8410KID},
		{"CRLF inside armor", crlf(testdata(t, "rfc8410.age.pem")), passphrase, rfc8410KID},
		{"white space around", []byte("\n \t" + string(testdata(t, "rfc8410-v1.pem")) + " \r\n\n\t "), nil, rfc8410KID},
		{"no last newline", bytes.TrimSpace(testdata(t, "rfc8410-v1.pem")), nil, rfc8410KID},
		{"P-256 as openssl genpkey writes it", testdata(t, "p256.pem"), nil, p256KID},
		{"P-256 as openssl ec writes it", testdata(t, "p256-sec1.pem"), nil, p256KID},
		{"P-256 DER", derOf(t, "p256.pem"), nil, p256KID},
		{"P-256 encrypted by the age program without armor", testdata(t, "p256.age"), passphrase, p256KID},
	} {
		t.Run(file.name, func(t *testing.T) {
			cfg := newConfig(t, "")
			cfg.Passphrase = file.passphrase
			place(t, cfg, 1, file.content)
			if got := open(t, cfg).held.Load().current; got != file.kid {
				t.Errorf("kid %s, want %s", got, file.kid)
			}
		})
	}
}

func TestHighestVersionIsCurrent(t *testing.T) {
	cfg := newConfig(t, "")
	place(t, cfg, 9, testdata(t, "p256.pem"))
	place(t, cfg, 10, testdata(t, "rfc8410-v1.pem")) // as text, 9 would come last
	if got := open(t, cfg).held.Load().current; got != rfc8410KID {
		t.Errorf("current is %s, want version 10, %s", got, rfc8410KID)
	}
	eleventh := generate(t, cfg)
	kids, err := open(t, cfg).ListKIDs(t.Context())
	if want := []string{p256KID, rfc8410KID, eleventh}; err != nil || !slices.Equal(kids, want) {
		t.Errorf("ListKIDs = %v, %v; want %v", kids, err, want)
	}
}

func TestOtherFilesAreNotVersions(t *testing.T) {
	cfg := newConfig(t, "")
	kid := generate(t, cfg)
	for _, name := range []string{
		"cap-signing.pem", "cap-signing.0.pem", "cap-signing.02.pem", "cap-signing.+2.pem", "cap-signing.-2.pem",
		"cap-signing.2.pem.bak", "cap-signing.2.PEM", "cap-signing.2", ".cap-signing.2.pem", "cap-signing.x.pem",
		"cap-signing.99999999999999999999.pem", "other.2.pem", "cap-signing-2.1.pem", ".generate-LEFTOVER.tmp",
	} {
		must(t, os.WriteFile(filepath.Join(cfg.Dir, name), []byte("not a key, and open to all"), 0o666))
	}
	kids, err := open(t, cfg).ListKIDs(t.Context())
	if err != nil || len(kids) != 1 || kids[0] != kid {
		t.Errorf("ListKIDs = %v, %v; want %s alone", kids, err, kid)
	}
}

func TestTwoNamesShareADirectory(t *testing.T) {
	cfg := newConfig(t, "")
	one, two := generate(t, cfg), generate(t, renamed(cfg, "cap/signing"))
	if got := open(t, cfg).held.Load().current; got != one {
		t.Errorf("current is %s, want %s", got, one)
	}
	if got := open(t, renamed(cfg, "cap/signing")).held.Load().current; got != two {
		t.Errorf("current of the other name is %s, want %s", got, two)
	}
}

func TestOpenStopsWhenContextIsDone(t *testing.T) {
	cfg := newConfig(t, "")
	generate(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, cfg); !errors.Is(err, capsign.ProviderTimeout) {
		t.Errorf("Open = %v, want %v", err, capsign.ProviderTimeout)
	}
	if _, err := Generate(ctx, cfg); !errors.Is(err, capsign.ProviderTimeout) {
		t.Errorf("Generate = %v, want %v", err, capsign.ProviderTimeout)
	}
}

func TestClosedProviderSignsNothing(t *testing.T) {
	for _, alg := range []capsign.Alg{capsign.Ed25519, capsign.ES256} {
		cfg := newConfig(t, alg)
		generate(t, cfg)
		provider := open(t, cfg)
		must(t, provider.Close())
		must(t, provider.Close())
		sig, err := provider.Sign(t.Context(), "", []byte("too late"))
		if !errors.Is(err, capsign.ProviderUnavailable) || sig.Bytes != nil {
			t.Errorf("%s: Sign after Close = %v, %v", alg, sig, err)
		}
	}
}

// Ed25519 signing must cost what crypto/ed25519 costs: its one allocation is
// the signature.
func TestSignAllocatesTheSignatureOnly(t *testing.T) {
	cfg := newConfig(t, "")
	generate(t, cfg)
	provider, msg := open(t, cfg), make([]byte, 32)
	if allocs := testing.AllocsPerRun(100, func() { _, _ = provider.Sign(t.Context(), "", msg) }); allocs > 1 {
		t.Errorf("Sign allocates %v times, want once", allocs)
	}
}

func BenchmarkSign(b *testing.B) {
	for _, alg := range []capsign.Alg{capsign.Ed25519, capsign.ES256} {
		cfg := newConfig(b, alg)
		generate(b, cfg)
		provider, msg := open(b, cfg), make([]byte, 32)
		private := provider.held.Load().byKID[provider.held.Load().current]
		b.Run(string(alg)+"/provider", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = provider.Sign(b.Context(), "", msg)
			}
		})
		b.Run(string(alg)+"/library", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = private.sign(msg)
			}
		})
	}
}
