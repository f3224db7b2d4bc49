//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/pkcs11/p11test"
)

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
