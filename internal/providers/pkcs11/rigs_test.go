//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
	"github.com/capsign/cap/internal/providers/pkcs11/p11test"
	"github.com/capsign/cap/internal/providers/providertest"
)

// contract holds a provider on another vendor's module to the contract, once for
// each algorithm that the token has. Faults are tried with the first.
func contract(t *testing.T, cfg Config, class capsign.Class, backend string, algs []capsign.Alg, faults ...providertest.Fault) {
	t.Helper()
	for i, alg := range algs {
		t.Run(string(alg), func(t *testing.T) {
			cfg := cfg
			cfg.Alg, cfg.KeyLabel = alg, cfg.KeyLabel+"-"+string(alg)
			generate(t, cfg)
			suite := providertest.Config{
				Open:       func(ctx context.Context) (providers.Provider, error) { return provider(Open(ctx, cfg)) },
				ProviderID: capsign.ProviderPKCS11,
				KeyName:    keyName,
				Alg:        alg,
				Class:      class,
				Backend:    backend,
				Signatures: 20,
				Callers:    8,
				Secrets:    []string{cfg.TokenLabel, "CKR_"},
			}
			if i == 0 {
				suite.Faults = faults
			}
			providertest.Run(t, suite)
		})
	}
}

// outage is a device that goes away and comes back, for providers that are open
// and those that are being opened.
func outage(name string, code capsign.Code, begin, end func(*testing.T)) providertest.Fault {
	return providertest.Fault{Name: name, Inject: begin, Repair: end, Sign: code, Open: code, Recovery: 10 * time.Second}
}

func TestContractOfNSS(t *testing.T) {
	p11test.OwnProcess(t, func(t *testing.T) {
		contract(t, configFor(p11test.NSS(t)), capsign.ClassToken, "NSS softokn",
			[]capsign.Alg{capsign.ES256, capsign.ES384, capsign.PS256, capsign.RS256})
	})
}

func TestContractOfTPM(t *testing.T) {
	p11test.OwnProcess(t, func(t *testing.T) {
		tpm := p11test.TPM(t)
		cfg := configFor(tpm.Token)
		cfg.CallTimeout = 2 * time.Second
		contract(t, cfg, capsign.ClassChip, "tpm2-pkcs11", []capsign.Alg{capsign.ES256, capsign.ES384, capsign.RS256}, outage("dead and back", capsign.ProviderUnavailable, func(t *testing.T) { tpm.Kill(t) }, func(t *testing.T) { tpm.Restart(t) }),
			outage("frozen", capsign.ProviderHung, func(t *testing.T) { tpm.Stop(t) }, func(t *testing.T) { tpm.Cont(t); settled(t) }))
	})
}

// A TPM locks as a whole when somebody, anybody, has sent wrong PINs.
func TestTPMLocksInMidService(t *testing.T) {
	p11test.OwnProcess(t, func(t *testing.T) {
		tpm := p11test.TPM(t)
		cfg := configFor(tpm.Token)
		generate(t, cfg)
		p := opened(t, cfg)
		mustSign(t, p, "")
		tpm.Lock(t)
		mustFail(t, p, capsign.TokenLocked)
		mustFail(t, p, capsign.TokenLocked)
		mustNotOpen(t, cfg, capsign.TokenLocked)
		tpm.Unlock(t)
		mustNotOpen(t, cfg, capsign.TokenLocked) // until the guard says otherwise
		cfg.Guard = newOneLogin()
		mustSign(t, opened(t, cfg), "")
	})
}

func TestEd25519OnATokenWithoutIt(t *testing.T) {
	p11test.OwnProcess(t, func(t *testing.T) {
		cfg := configFor(p11test.NSS(t))
		cfg.Alg = capsign.Ed25519
		if _, err := Generate(t.Context(), cfg); codeOf(err) != capsign.UnsupportedAlg {
			t.Errorf("Generate = %v, want %s", err, capsign.UnsupportedAlg)
		}
	})
}

func TestContractOfARemoteToken(t *testing.T) {
	p11test.OwnProcess(t, func(t *testing.T) {
		remote := p11test.P11Kit(t, p11test.SoftHSM(t))
		cfg := configFor(remote.Token)
		cfg.CallTimeout = time.Second
		contract(t, cfg, capsign.ClassToken, "p11-kit", []capsign.Alg{capsign.ES256, capsign.ES384, capsign.PS256, capsign.RS256}, outage("gone and back", capsign.TokenAbsent, func(t *testing.T) { remote.Kill(t) }, func(t *testing.T) { remote.Restart(t) }),
			outage("frozen", capsign.ProviderHung, func(t *testing.T) { remote.Stop(t) }, func(t *testing.T) { remote.Cont(t); settled(t) }))
	})
}
