//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/pkcs11/p11test"
)

// chaotic returns a shim over a new token with one P-256 key, and the
// configuration that goes through it.
func chaotic(t *testing.T) (*p11test.Chaos, Config) {
	t.Helper()
	tok := p11test.SoftHSM(t)
	tok.Generate(t, capsign.ES256, keyName, "01")
	chaos := p11test.WithChaos(t, tok)
	return chaos, configFor(chaos.Token)
}

// wantCount says how often a function has been called since before.
func wantCount(t *testing.T, chaos *p11test.Chaos, function string, before, want int) {
	t.Helper()
	if got := chaos.Count(t, function) - before; got != want {
		t.Errorf("%d calls of %s, want %d", got, function, want)
	}
}

func TestSigningLooksNothingUp(t *testing.T) {
	chaos, cfg := chaotic(t)
	p := opened(t, cfg)
	for range 2 * len(p.token.sessions.all) {
		mustSign(t, p, "")
	}
	functions := []string{"C_Login", "C_FindObjectsInit", "C_GetAttributeValue", "C_GetTokenInfo", "C_GetSessionInfo", "C_OpenSession"}
	before := make(map[string]int)
	for _, function := range functions {
		before[function] = chaos.Count(t, function)
	}
	signed := chaos.Count(t, "C_Sign")
	for range 50 {
		mustSign(t, p, "")
	}
	wantCount(t, chaos, "C_Sign", signed, 50)
	wantCount(t, chaos, "C_Login", 0, 1)
	for _, function := range functions[:5] {
		wantCount(t, chaos, function, before[function], 0)
	}
	if sessions := chaos.Count(t, "C_OpenSession"); sessions > len(p.token.sessions.all)+1 {
		t.Errorf("%d sessions were opened, want one for each thread and the anchor", sessions)
	}
}

// plain makes a rule a test's name, which becomes part of a path in SoftHSM's
// configuration, where "=" means something.
var plain = strings.NewReplacer("=", "-", " ", "_")

// settled waits until no thread is inside a module any more: a module that is
// left initialised would keep this test's tokens for the next test's.
// anyInside reports whether a thread is inside a module.
// What a fault of one kind costs those who sign meanwhile.
func TestPassingFaultsCostNoSignature(t *testing.T) {
	for _, rule := range []string{
		"C_SignInit rv=0xB3 count=2", "C_Sign rv=0xB3 count=2", "C_SignInit rv=0x90 count=1",
		"C_SignInit rv=0x82 count=1", "C_SignInit rv=0x82 count=2", "C_Sign rv=0x101 count=1",
		"C_Sign rv=0x30 count=1", "C_Sign rv=0x5 count=1", "C_SignInit rv=0x32 count=1",
		"C_Sign rv=0x80000001 count=1", "any rv=0x190 count=1",
	} {
		t.Run(plain.Replace(rule), func(t *testing.T) {
			chaos, cfg := chaotic(t)
			p := opened(t, cfg)
			mustSign(t, p, "")
			chaos.Rule(t, rule)
			var callers sync.WaitGroup
			for range 8 {
				callers.Go(func() {
					for range 5 {
						if _, err := signAndVerify(t.Context(), p, ""); err != nil {
							t.Error(err)
						}
					}
				})
			}
			callers.Wait()
			if logins := chaos.Count(t, "C_Login"); logins > 2 {
				t.Errorf("%d logins, want one at the start and one after a new initialisation", logins)
			}
		})
	}
}

// A fault that stays is answered at once, and the module is not hammered.
func TestLastingFaultsFailFast(t *testing.T) {
	for rule, want := range map[string]capsign.Code{
		"C_Sign rv=0x30":  capsign.ProviderUnavailable,
		"any rv=0x32":     capsign.TokenAbsent,
		"any rv=0xE0":     capsign.TokenAbsent,
		"any rv=0x30":     capsign.ProviderUnavailable,
		"C_Sign rv=0x101": capsign.ProviderUnavailable,
		"C_Sign rv=0x82":  capsign.ProviderUnavailable,
	} {
		t.Run(plain.Replace(rule), func(t *testing.T) {
			chaos, cfg := chaotic(t)
			p := opened(t, cfg)
			mustSign(t, p, "")
			chaos.Rule(t, rule)
			mustFail(t, p, want)
			calls := chaos.Count(t, "C_SignInit")
			inits := chaos.Count(t, "C_Initialize")
			for range 100 {
				mustFail(t, p, want)
			}
			if more := chaos.Count(t, "C_SignInit") - calls; more > 4 {
				t.Errorf("%d tries while the fault stood", more)
			}
			if more := chaos.Count(t, "C_Initialize") - inits; more > 2 {
				t.Errorf("%d initialisations while the fault stood", more)
			}
			if logins := chaos.Count(t, "C_Login"); logins > 4 {
				t.Errorf("%d logins while the fault stood", logins)
			}
			chaos.Clear(t)
			eventually(t, p)
		})
	}
}

// Somebody else in the process logs out: all sessions and handles are void.
// eventually says that p signs again within a few seconds.
func eventually(t *testing.T, p *Provider) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		_, err := signAndVerify(ctx, p, "")
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("it does not sign again: %v", err)
		case <-again.C:
		}
	}
}

// When the token locks, nobody tries the PIN again until somebody opens anew
// with the guard's leave.
// A process that is logged in is let in with any PIN: who comes after a failure
// is logged out first, and who cannot prove its PIN does not come in.
// While one caller mends a module that is known to be broken, the others are
// not kept waiting.
func TestOthersDoNotWaitForAMendingCaller(t *testing.T) {
	chaos, cfg := chaotic(t)
	p := opened(t, cfg)
	chaos.Rule(t, "any rv=0x30")
	mustFail(t, p, capsign.ProviderUnavailable)
	chaos.Rule(t, "C_Initialize delay_ms=700")
	var mending sync.WaitGroup
	var seen atomic.Bool
	mending.Go(func() {
		for !seen.Load() {
			mustFail(t, p, capsign.ProviderUnavailable)
		}
	})
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for chaos.Inside(t, "C_Initialize") == 0 {
		<-again.C
	}
	start := time.Now()
	mustFail(t, p, capsign.ProviderUnavailable)
	if took := time.Since(start); took > 300*time.Millisecond {
		t.Errorf("refused after %v, want at once", took)
	}
	seen.Store(true)
	mending.Wait()
	chaos.Clear(t)
}

// threadsOf counts the operating system's threads of this process.
// Closing while a call hangs neither waits for it nor ends the process, and who
// opens next finds everything as it was.
// Every call into the module is watched, those of Open as well.
// eventuallyOpens says that the key can be opened within a few seconds.
// A login that ends badly after its caller has left still counts.
// Another private key under the pinned one's label is never signed with.
func TestKeySwappedUnderItsLabel(t *testing.T) {
	chaos, cfg := chaotic(t)
	p := opened(t, cfg)
	mustSign(t, p, "")
	chaos.DeletePrivate(t, "01")
	chaos.DeletePublic(t, "01")
	chaos.Generate(t, capsign.ES256, keyName, "02")
	mustFail(t, p, capsign.Integrity)
	mustFail(t, p, capsign.Integrity)
}

func TestKeyDeletedFromARunningToken(t *testing.T) {
	chaos, cfg := chaotic(t)
	chaos.Generate(t, capsign.ES256, keyName+".2", "02")
	p := opened(t, cfg)
	kids, _ := p.ListKIDs(t.Context())
	chaos.DeletePrivate(t, "02")
	mustFail(t, p, capsign.ProviderUnavailable)
	mustFail(t, p, capsign.ProviderUnavailable)
	mustSign(t, p, kids[0])
	chaos.DeletePrivate(t, "01")
	if _, err := p.Sign(t.Context(), kids[0], nil); !errors.Is(err, capsign.ProviderUnavailable) {
		t.Errorf("Sign = %v", err)
	}
	cfg.Guard = newOneLogin()
	mustNotOpen(t, cfg, capsign.KeyUnknown)
}

// A token that signs with another key than it shows is found out at once.
func TestSelfTestFindsAForeignPublicKey(t *testing.T) {
	chaos, cfg := chaotic(t)
	chaos.Generate(t, capsign.ES256, "other", "02")
	chaos.Rule(t, "C_SignInit wrongkey")
	mustNotOpen(t, cfg, capsign.Integrity)
}

func TestLogsNameFunctionsAndNumbersOnly(t *testing.T) {
	chaos, cfg := chaotic(t)
	var out lockedBuffer
	cfg.Log = out.logger()
	p := opened(t, cfg)
	chaos.Rule(t, "C_Sign rv=0x30 count=1")
	mustSign(t, p, "")
	text := out.String()
	for _, want := range []string{`"function":"C_Sign"`, `"rv":48`, `"label":"cap-test"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the log does not say %s", want)
		}
	}
	for _, secret := range []string{chaos.PIN, "0001", chaos.Module} {
		if secret == chaos.PIN {
			secret = `"` + secret + `"`
		}
		if strings.Contains(text, secret) {
			t.Errorf("the log says %s", secret)
		}
	}
}
