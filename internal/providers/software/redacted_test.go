package software

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/capsign/cap/capsign"
)

func TestNothingPrintsASecret(t *testing.T) {
	for _, alg := range []capsign.Alg{capsign.Ed25519, capsign.ES256} {
		cfg := withPassphrase(newConfig(t, alg))
		generate(t, cfg)
		provider := open(t, cfg)
		held := provider.held.Load().byKID[provider.held.Load().current]
		secrets := append(spellings(cfg.Passphrase), spellings(secretOf(t, held))...)
		for name, v := range map[string]any{
			"Config": cfg, "*Config": &cfg, "Provider": provider, "version": held, "*version": &held,
			"shared":   held.shared,
			"versions": provider.held.Load().byKID, "struct": struct {
				C Config
				P *Provider
				V version
			}{cfg, provider, held},
		} {
			text := everyPrint(t, v)
			if !strings.Contains(text, redacted) {
				t.Errorf("%s does not print as %s: %s", name, redacted, text)
			}
			for _, secret := range secrets {
				if strings.Contains(text, secret) {
					t.Errorf("%s prints its secret as %.12s…", name, secret)
				}
			}
		}
	}
}

// secretOf returns a version's seed or private scalar.
func secretOf(t *testing.T, v version) []byte {
	t.Helper()
	if private, ok := v.private.(ed25519.PrivateKey); ok {
		return private.Seed()
	}
	scalar, err := v.private.(*ecdsa.PrivateKey).Bytes()
	must(t, err)
	return scalar
}

// spellings returns how a secret could look in print. Its first bytes are
// enough to tell it.
func spellings(secret []byte) []string {
	head := secret[:6]
	numbers := fmt.Sprintf("%d", head)
	return []string{
		string(head), hex.EncodeToString(head), strings.ToUpper(hex.EncodeToString(head)),
		base64.StdEncoding.EncodeToString(head), strings.Trim(numbers, "[]"),
		strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", head), "[]byte{"), "}"),
	}
}

// everyPrint prints v in all the ways that a program is likely to.
func everyPrint(t *testing.T, v any) string {
	t.Helper()
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+"\n", v)
	}
	slog.New(slog.NewTextHandler(&out, nil)).InfoContext(t.Context(), "printed", "v", v)
	slog.New(slog.NewJSONHandler(&out, nil)).InfoContext(t.Context(), "printed", "v", v)
	encoded, err := json.Marshal(v)
	must(t, err)
	out.Write(encoded)
	return out.String()
}

func TestCloseWipesWhatItCan(t *testing.T) {
	cfg := newConfig(t, "")
	generate(t, cfg)
	provider := open(t, cfg)
	private := provider.held.Load().byKID[provider.held.Load().current].private.(ed25519.PrivateKey)
	must(t, provider.Close())
	if !bytes.Equal(private, make([]byte, ed25519.PrivateKeySize)) {
		t.Error("the private key is still in memory")
	}
}
