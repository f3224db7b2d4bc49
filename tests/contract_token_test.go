//go:build cgo

package tests

import (
	"context"
	"testing"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
	"github.com/capsign/cap/internal/providers/pkcs11"
	"github.com/capsign/cap/internal/providers/pkcs11/p11test"
	"github.com/capsign/cap/internal/providers/providertest"
)

// TestPKCS11 holds keys on the SoftHSM2 token that SOFTHSM2_CONF and PKCS11_PIN
// describe, or on one of its own, to the contract. The provider's own tests do
// the same on other vendors' tokens.
func TestPKCS11(t *testing.T) {
	token, ok := p11test.FromEnvironment(t)
	if !ok {
		token = p11test.SoftHSM(t)
	}
	for _, alg := range []capsign.Alg{capsign.Ed25519, capsign.ES256} {
		t.Run(string(alg), func(t *testing.T) {
			cfg := pkcs11.Config{
				Module: token.Module, TokenSerial: token.Serial, KeyLabel: "contract-" + string(alg), KeyName: "contract",
				PIN: []byte(token.PIN), Alg: alg, Guard: pkcs11.OneLogin(),
			}
			if _, err := pkcs11.Generate(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			providertest.Run(t, providertest.Config{
				Open:       func(ctx context.Context) (providers.Provider, error) { return opened(pkcs11.Open(ctx, cfg)) },
				ProviderID: capsign.ProviderPKCS11, KeyName: "contract", Alg: alg, Class: capsign.ClassToken,
				Backend: "SoftHSM2", Signatures: 30, Callers: 8, Secrets: []string{token.PIN, token.Serial, "CKR_"},
			})
		})
	}
}
