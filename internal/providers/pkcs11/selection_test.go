//go:build cgo && !nopkcs11

package pkcs11

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/pkcs11/p11test"
)

func TestVersionsAreOrderedByNumber(t *testing.T) {
	tok := p11test.SoftHSM(t)
	for id, label := range map[string]string{
		"0a": keyName + ".10", "02": keyName + ".2", "01": keyName, // versions
		"11": keyName + ".02", "12": keyName + ".1", "13": keyName + "x", "14": "another", // not
	} {
		tok.Generate(t, capsign.ES256, label, id)
	}
	p := opened(t, configFor(tok))
	var labels []string
	for _, kid := range p.held.Load().kids {
		key, _ := p.PublicKey(t.Context(), kid)
		labels = append(labels, key.Version)
		mustSign(t, p, kid)
	}
	if want := []string{keyName, keyName + ".2", keyName + ".10"}; !slices.Equal(labels, want) {
		t.Errorf("versions %v, want %v", labels, want)
	}
}

func TestKeyIDPinsOneVersion(t *testing.T) {
	tok := p11test.SoftHSM(t)
	tok.Generate(t, capsign.ES256, keyName, "01")
	tok.Generate(t, capsign.ES256, keyName+".2", "02")
	cfg := configFor(tok)
	cfg.KeyLabel, cfg.KeyID = "", []byte{2}
	p := opened(t, cfg)
	if kids := p.held.Load().kids; len(kids) != 1 {
		t.Errorf("%d versions, want 1", len(kids))
	}
	if _, err := p.Generate(t.Context()); codeOf(err) != capsign.ConfigInvalid {
		t.Errorf("Generate beside a pinned key = %v", err)
	}
	cfg.KeyLabel = keyName
	mustNotOpen(t, cfg, capsign.KeyUnknown)
	cfg.KeyID = []byte{1}
	opened(t, cfg)
}

func TestWhatIsNotExactlyOneIsRefused(t *testing.T) {
	tok := p11test.SoftHSM(t)
	cfg := configFor(tok)
	mustNotOpen(t, cfg, capsign.KeyUnknown)
	tok.Generate(t, capsign.ES256, keyName, "01")
	tok.Generate(t, capsign.ES256, keyName, "02")
	mustNotOpen(t, cfg, capsign.KeyAmbiguous)
	cfg.KeyID = []byte{2}
	mustSign(t, opened(t, cfg), "")
}

func TestOneKeyInTwoVersionsIsRefused(t *testing.T) {
	tok := p11test.SoftHSM(t)
	key := ecKey(t)
	tok.Import(t, key, keyName, "01")
	tok.Import(t, key, keyName+".2", "02")
	mustNotOpen(t, configFor(tok), capsign.KeyAmbiguous)
}

func TestTokenIsChosenByLabelSerialOrSlot(t *testing.T) {
	one := p11test.SoftHSM(t)
	two := one.Another(t, "cap-other")
	twin := one.Another(t, "cap-other")
	for _, tok := range []*p11test.Token{one, two, twin} {
		cfg := configFor(tok)
		cfg.TokenLabel, cfg.TokenSerial = "", tok.Serial
		generate(t, cfg)
	}
	cfg := configFor(two)
	mustNotOpen(t, cfg, capsign.KeyAmbiguous)
	cfg.TokenSerial = two.Serial
	first := opened(t, cfg)
	cfg.TokenSerial = twin.Serial
	second := opened(t, cfg)
	if first.token == second.token || first.held.Load().current == second.held.Load().current {
		t.Error("two tokens were taken for one")
	}

	cfg.TokenLabel, cfg.TokenSerial = "", ""
	mustNotOpen(t, cfg, capsign.KeyAmbiguous)
	index := uint(2)
	cfg.Slot = &index
	var out lockedBuffer
	cfg.Log = out.logger()
	byIndex := opened(t, cfg)
	id := byIndex.token.slot
	cfg.Slot = &id
	if byID := opened(t, cfg); byID.token != byIndex.token {
		t.Error("slot id and index gave two tokens")
	}
	index = 3
	cfg.Slot = &index
	mustNotOpen(t, cfg, capsign.TokenAbsent)
	cfg.Slot, cfg.TokenLabel = nil, "no-such-token"
	mustNotOpen(t, cfg, capsign.TokenAbsent)
}

func TestChosenTokenIsLogged(t *testing.T) {
	tok := p11test.SoftHSM(t)
	cfg := configFor(tok)
	generate(t, cfg)
	var out lockedBuffer
	cfg.Log = out.logger()
	opened(t, cfg)
	if !strings.Contains(out.String(), tok.Serial) {
		t.Error("the log does not say which token it is")
	}
}

// A key that was copied to a second token keeps its kid.
func TestSameKeyOnTwoTokensHasOneKID(t *testing.T) {
	one := p11test.SoftHSM(t)
	two := one.Another(t, "cap-other")
	for name, pem := range map[string][]byte{"p256": ecKey(t), "ed25519": edKey(t)} {
		one.Import(t, pem, name, "01")
		two.Import(t, pem, name, "77")
		kids := make(map[string]bool)
		for _, tok := range []*p11test.Token{one, two} {
			cfg := configFor(tok)
			cfg.KeyLabel = name
			kids[mustSign(t, opened(t, cfg), "").KID] = true
		}
		if len(kids) != 1 {
			t.Errorf("%s: kids %v, want one", name, kids)
		}
		one.DeletePrivate(t, "01")
		one.DeletePublic(t, "01")
	}
}

// ecKey and edKey return a new private key as PKCS#8 in PEM.
func ecKey(t *testing.T) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return pkcs8(t, key, err)
}

func edKey(t *testing.T) []byte {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return pkcs8(t, key, err)
}

func pkcs8(t *testing.T, key any, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// A token may show the public key on a certificate alone.
func TestPublicKeyFromTheCertificate(t *testing.T) {
	tok := p11test.SoftHSM(t)
	material := ecKey(t)
	tok.Import(t, material, keyName, "01")
	tok.DeletePublic(t, "01")
	cfg := configFor(tok)
	mustNotOpen(t, cfg, capsign.KeyUnknown)
	tok.Certificate(t, certificate(t, material), "cert", "01")
	mustSign(t, opened(t, cfg), "")
}

// A public key beside the private one that is another's is found out.
func TestForeignPublicKeyIsRefused(t *testing.T) {
	tok := p11test.SoftHSM(t)
	tok.Import(t, ecKey(t), keyName, "01")
	tok.DeletePublic(t, "01")
	tok.Certificate(t, certificate(t, ecKey(t)), "cert", "01")
	mustNotOpen(t, configFor(tok), capsign.Integrity)
}

// certificate returns a self-signed certificate of the key.
func certificate(t *testing.T, material []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(material)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key := parsed.(*ecdsa.PrivateKey)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestKeysThatCapHasNoAlgorithmFor(t *testing.T) {
	tok := p11test.SoftHSM(t)
	tok.Generate(t, capsign.RS256, keyName, "01") // 2048 bits
	mustNotOpen(t, configFor(tok), capsign.UnsupportedAlg)
}

// Many callers of a key whose PIN has become wrong send it once.
func TestModulesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.so")
	if err := os.WriteFile(text, []byte("no library"), 0o600); err != nil {
		t.Fatal(err)
	}
	spy := filepath.Join(dir, "pkcs11-spy.so")
	if err := os.Symlink("/usr/lib/softhsm/libsofthsm2.so", spy); err != nil {
		t.Fatal(err)
	}
	cfg := configFor(&p11test.Token{PIN: "1234"})
	for _, module := range []string{
		"", "libsofthsm2.so", dir, filepath.Join(dir, "missing.so"), text, spy,
		"/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/bin/env",
	} {
		cfg.Module = module
		mustNotOpen(t, cfg, capsign.ModuleInvalid)
	}
}

func TestModuleHasOneSetOfInitArgs(t *testing.T) {
	cfg := generated(t)
	mustSign(t, opened(t, cfg), "")
	cfg.InitArgs = "others"
	mustNotOpen(t, cfg, capsign.ConfigInvalid)
}

// keepsItsKey asks what Generate asks of a key that it has made.
// A label that somebody else has given a key to in the meantime is not alone.
