//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
	"github.com/capsign/cap/internal/providers/pkcs11/p11test"
	"github.com/capsign/cap/internal/providers/providertest"
)

// keyName is the logical name of every key here, and its label.
const keyName = "cap-signing"

// configFor returns the configuration of a key on tok, with a guard that no
// other test knows.
func configFor(tok *p11test.Token) Config {
	return Config{
		Module: tok.Module, InitArgs: tok.InitArgs, TokenLabel: tok.Label,
		KeyLabel: keyName, KeyName: keyName, PIN: []byte(tok.PIN), Guard: newOneLogin(),
	}
}

// generated returns the configuration of a key on a new SoftHSM token with
// one P-256 version that Generate has made.
func generated(t *testing.T) Config {
	t.Helper()
	cfg := configFor(p11test.SoftHSM(t))
	generate(t, cfg)
	return cfg
}

// generate makes a key version.
func generate(t *testing.T, cfg Config) string {
	t.Helper()
	kid, err := Generate(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Generate: %v", err)
	}
	return kid
}

// opened opens a provider that the test closes.
func opened(t *testing.T, cfg Config) *Provider {
	t.Helper()
	p, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return p
}

// mustNotOpen says that Open fails with the code.
func mustNotOpen(t *testing.T, cfg Config, want capsign.Code) {
	t.Helper()
	p, err := Open(t.Context(), cfg)
	if err == nil {
		_ = p.Close()
	}
	if !errors.Is(err, want) {
		t.Errorf("Open = %v, want %s", err, want)
	}
}

// mustSign signs and verifies.
func mustSign(t *testing.T, p *Provider, kid string) capsign.Signature {
	t.Helper()
	sig, err := signAndVerify(t.Context(), p, kid)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// signAndVerify is mustSign for other goroutines.
func signAndVerify(ctx context.Context, p *Provider, kid string) (capsign.Signature, error) {
	msg := []byte("a message")
	sig, err := p.Sign(ctx, kid, msg)
	if err != nil {
		return capsign.Signature{}, fmt.Errorf("sign: %w", err)
	}
	key, err := p.PublicKey(ctx, sig.KID)
	if err != nil {
		return capsign.Signature{}, fmt.Errorf("public key: %w", err)
	}
	return sig, key.Verify(msg, sig.Bytes)
}

// mustFail says that signing fails with the code.
func mustFail(t *testing.T, p *Provider, want capsign.Code) {
	t.Helper()
	if sig, err := p.Sign(t.Context(), "", []byte("a message")); !errors.Is(err, want) || sig.Bytes != nil {
		t.Errorf("Sign = %v, %v, want %s", sig, err, want)
	}
}

func TestContract(t *testing.T) {
	for _, alg := range []capsign.Alg{capsign.Ed25519, capsign.ES256, capsign.ES384, capsign.PS256, capsign.RS256} {
		t.Run(string(alg), func(t *testing.T) {
			tok := p11test.SoftHSM(t)
			cfg := configFor(tok)
			cfg.Alg = alg
			generate(t, cfg)
			generate(t, cfg)
			providertest.Run(t, providertest.Config{
				Open:       func(ctx context.Context) (providers.Provider, error) { return provider(Open(ctx, cfg)) },
				ProviderID: capsign.ProviderPKCS11,
				KeyName:    keyName,
				Alg:        alg,
				Class:      capsign.ClassToken,
				Backend:    "SoftHSM2",
				Signatures: 60,
				Callers:    16,
				Secrets:    []string{tok.PIN, tok.Serial, tok.Label, "softhsm", "CKR_"},
				Faults:     []providertest.Fault{tokenPulled(), storeAway(tok)},
			})
		})
	}
}

// provider returns a nil interface with an error, not an interface of nil.
func provider(p *Provider, err error) (providers.Provider, error) {
	if err != nil {
		return nil, err
	}
	return p, nil
}

// tokenPulled is a token that is pulled and put back.
func tokenPulled() providertest.Fault {
	pulled, place := "", ""
	return providertest.Fault{
		Name: "token pulled and put back",
		Inject: func(t *testing.T) {
			tokens := filepath.Join(filepath.Dir(os.Getenv("SOFTHSM2_CONF")), "tokens")
			found, err := filepath.Glob(filepath.Join(tokens, "*"))
			if err != nil || len(found) != 1 {
				t.Fatalf("token directories %v, %v", found, err)
			}
			place, pulled = found[0], tokens+".pulled"
			rename(t, place, pulled)
		},
		Repair:   func(t *testing.T) { rename(t, pulled, place) },
		Sign:     capsign.TokenAbsent,
		Open:     capsign.TokenAbsent,
		Recovery: 5 * time.Second,
	}
}

// rename moves a directory.
func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// storeAway is a module that cannot be initialised for a while.
func storeAway(tok *p11test.Token) providertest.Fault {
	return providertest.Fault{
		Name:     "store of all tokens away and back",
		Inject:   func(t *testing.T) { tok.Hide(t) },
		Repair:   func(t *testing.T) { tok.Restore(t) },
		Sign:     capsign.ProviderUnavailable,
		Open:     capsign.ProviderUnavailable,
		Recovery: 5 * time.Second,
	}
}

func TestTwoProvidersOfOneTokenNeedOnePIN(t *testing.T) {
	cfg := generated(t)
	first := opened(t, cfg)
	second := opened(t, cfg)
	wrong := cfg
	wrong.PIN = []byte(p11test.WrongPIN)
	mustNotOpen(t, wrong, capsign.PINIncorrect)
	mustSign(t, first, "")
	mustSign(t, second, "")
}

func TestWrongPINIsLatchedByTheGuard(t *testing.T) {
	cfg := generated(t)
	wrong := cfg
	wrong.PIN = []byte(p11test.WrongPIN)
	mustNotOpen(t, wrong, capsign.PINIncorrect)
	mustNotOpen(t, cfg, capsign.PINIncorrect) // the guard does not forget
	cfg.Guard = newOneLogin()
	mustSign(t, opened(t, cfg), "")
}
