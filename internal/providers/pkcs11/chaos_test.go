//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

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

func TestWrongPINIsTriedOnce(t *testing.T) {
	chaos, cfg := chaotic(t)
	cfg.PIN = []byte(p11test.WrongPIN)
	for range 3 {
		mustNotOpen(t, cfg, capsign.PINIncorrect)
	}
	wantCount(t, chaos, "C_Login", 0, 1)
}

// plain makes a rule a test's name, which becomes part of a path in SoftHSM's
// configuration, where "=" means something.
var plain = strings.NewReplacer("=", "-", " ", "_")

// settled waits until no thread is inside a module any more: a module that is
// left initialised would keep this test's tokens for the next test's.
func settled(t *testing.T) {
	t.Helper()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for range 1000 {
		if !anyInside(t) {
			return
		}
		<-again.C
	}
	t.Error("a call is still inside")
}

// anyInside reports whether a thread is inside a module.
func anyInside(t *testing.T) bool {
	t.Helper()
	registry.Lock()
	defer registry.Unlock()
	for _, m := range registry.modules {
		if err := m.admin.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		inside := m.control != nil && m.control.oneStuck(1)
		for _, token := range m.tokens {
			inside = inside || token.sessions.oneStuck(1)
		}
		m.admin.give()
		if inside {
			return true
		}
	}
	return false
}

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
func TestForeignLogoutIsMendedOnce(t *testing.T) {
	chaos, cfg := chaotic(t)
	p := opened(t, cfg)
	mustSign(t, p, "")
	if err := p.token.m.lib.Logout(p11.SessionHandle(p.token.anchor)); err != nil {
		t.Fatal(err)
	}
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			if _, err := signAndVerify(t.Context(), p, ""); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	wantCount(t, chaos, "C_Login", 0, 2)
	wantCount(t, chaos, "C_Finalize", 0, 0)
}

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
func TestLockedTokenIsLatched(t *testing.T) {
	chaos, cfg := chaotic(t)
	p := opened(t, cfg)
	chaos.Rule(t, "C_Sign rv=0x5 count=1", "C_Login rv=0xA4")
	mustFail(t, p, capsign.TokenLocked)
	chaos.Clear(t)
	logins := chaos.Count(t, "C_Login")
	for range 20 {
		mustFail(t, p, capsign.TokenLocked)
	}
	mustNotOpen(t, cfg, capsign.TokenLocked)
	wantCount(t, chaos, "C_Login", logins, 0)

	cfg.Guard = newOneLogin() // an operator has resumed the pool
	mustSign(t, opened(t, cfg), "")
	mustSign(t, p, "")
}

// A process that is logged in is let in with any PIN: who comes after a failure
// is logged out first, and who cannot prove its PIN does not come in.
func TestLoginIsProved(t *testing.T) {
	chaos, cfg := chaotic(t)
	p := opened(t, cfg)
	chaos.Rule(t, "C_Sign rv=0xA4 count=1")
	mustFail(t, p, capsign.TokenLocked) // still logged in
	wrong := cfg
	wrong.PIN, wrong.Guard = []byte(p11test.WrongPIN), newOneLogin()
	mustNotOpen(t, wrong, capsign.PINIncorrect)
	chaos.Rule(t, "C_Login rv=0x100")
	cfg.Guard = newOneLogin()
	mustNotOpen(t, cfg, capsign.ProviderUnavailable)
}

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

func TestLockMetWhileSigningIsTold(t *testing.T) {
	chaos, cfg := chaotic(t)
	p := opened(t, cfg)
	chaos.Rule(t, "C_Sign rv=0xA4 count=1")
	mustFail(t, p, capsign.TokenLocked)
	mustFail(t, p, capsign.TokenLocked)
	mustNotOpen(t, cfg, capsign.TokenLocked)
	wantCount(t, chaos, "C_Login", 0, 1)
}

// threadsOf counts the operating system's threads of this process.
func threadsOf(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Skip("no /proc")
	}
	return len(tasks)
}

func TestHangCostsItsThreadAlone(t *testing.T) {
	chaos, cfg := chaotic(t)
	cfg.Sessions, cfg.CallTimeout = 3, 200*time.Millisecond
	p := opened(t, cfg)
	mustSign(t, p, "")
	chaos.Rule(t, "C_Sign hang")

	hung := func() time.Duration {
		start := time.Now()
		mustFail(t, p, capsign.ProviderHung)
		return time.Since(start)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := p.Sign(short, "", nil); !errors.Is(err, capsign.ProviderTimeout) {
		t.Errorf("Sign of an impatient caller = %v, want %s", err, capsign.ProviderTimeout)
	}
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() { hung() })
	}
	callers.Wait()
	threads := threadsOf(t)
	for range 200 {
		if took := hung(); took > 100*time.Millisecond {
			t.Errorf("refused after %v, want at once", took)
		}
	}
	mustNotOpen(t, cfg, capsign.ProviderHung)
	if more := threadsOf(t) - threads; more > 3 {
		t.Errorf("%d threads more after 200 calls that hung", more)
	}
	chaos.Clear(t)
	settled(t)
	eventually(t, p)
}

func TestOneHungSessionLeavesTheOthers(t *testing.T) {
	chaos, cfg := chaotic(t)
	cfg.Sessions, cfg.CallTimeout = 2, 200*time.Millisecond
	p := opened(t, cfg)
	chaos.Rule(t, "C_Sign hang count=1")
	mustFail(t, p, capsign.ProviderHung)
	for range 20 {
		mustSign(t, p, "")
	}
	chaos.Clear(t)
	settled(t)
}

// Closing while a call hangs neither waits for it nor ends the process, and who
// opens next finds everything as it was.
func TestCloseAroundAHungCall(t *testing.T) {
	chaos, cfg := chaotic(t)
	cfg.Sessions, cfg.CallTimeout = 1, 200*time.Millisecond
	p, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	chaos.Rule(t, "C_Sign hang")
	mustFail(t, p, capsign.ProviderHung)
	if err := p.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wantCount(t, chaos, "C_Finalize", 0, 0)
	mustNotOpen(t, cfg, capsign.ProviderHung)
	chaos.Clear(t)
	settled(t)
	again := opened(t, cfg)
	eventually(t, again)
	wantCount(t, chaos, "C_Login", 0, 1)
}

// Every call into the module is watched, those of Open as well.
func TestOpenNeverHangs(t *testing.T) {
	for _, function := range []string{
		"C_Initialize", "C_GetInfo", "C_GetSlotList", "C_GetTokenInfo", "C_OpenSession", "C_GetSessionInfo",
		"C_Login", "C_FindObjectsInit", "C_FindObjects", "C_GetAttributeValue", "C_SignInit", "C_Sign",
	} {
		t.Run(function, func(t *testing.T) {
			chaos, cfg := chaotic(t)
			cfg.CallTimeout = 100 * time.Millisecond
			chaos.Rule(t, function+" hang")
			start := time.Now()
			mustNotOpen(t, cfg, capsign.ProviderHung)
			mustNotOpen(t, cfg, capsign.ProviderHung)
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("Open took %v", took)
			}
			chaos.Clear(t)
			settled(t)
			eventuallyOpens(t, cfg)
		})
	}
}

// eventuallyOpens says that the key can be opened within a few seconds.
func eventuallyOpens(t *testing.T, cfg Config) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for range 100 {
		p, err := Open(t.Context(), cfg)
		if err == nil {
			mustSign(t, p, "")
			if err := p.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			return
		}
		<-again.C
	}
	t.Fatal("it does not open again")
}

// A login that ends badly after its caller has left still counts.
func TestLateLoginFailureIsTold(t *testing.T) {
	chaos, cfg := chaotic(t)
	cfg.PIN = []byte(p11test.WrongPIN)
	cfg.CallTimeout = 100 * time.Millisecond
	chaos.Rule(t, "C_Login hang")
	mustNotOpen(t, cfg, capsign.ProviderHung)
	chaos.Clear(t)
	guard := cfg.Guard.(*oneLogin)
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for range 200 {
		if guard.standing(chaos.Serial+"/"+chaos.Label) != "" {
			break
		}
		<-again.C
	}
	mustNotOpen(t, cfg, capsign.PINIncorrect)
	wantCount(t, chaos, "C_Login", 0, 1)
}

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
