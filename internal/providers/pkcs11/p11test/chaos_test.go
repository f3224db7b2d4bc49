//go:build cgo

package p11test

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/capsign/cap/capsign"
)

// chaotic is a SoftHSM token with the keys k and other behind a shim.
func chaotic(t testing.TB) *Chaos {
	t.Helper()
	tok := SoftHSM(t)
	tok.Generate(t, capsign.ES256, "k", "01")
	tok.Generate(t, capsign.ES256, "other", "02")
	return WithChaos(t, tok)
}

func (c *Chaos) wantCount(t testing.TB, function string, want int) {
	t.Helper()
	if got := c.Count(t, function); got != want {
		t.Errorf("%d calls of %s, want %d", got, function, want)
	}
}

func TestChaosCounts(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		c := chaotic(t)
		c.wantCount(t, "C_Sign", 0)
		u := use(t, c.Token)
		c.Token.Generate(t, capsign.ES256, "third", "03") // goes past the shim
		for range 3 {
			u.mustSignP256("k")
		}
		for function, want := range map[string]int{
			"C_Initialize": 1, "C_Login": 1, "C_Logout": 0, "C_SignInit": 3, "C_Sign": 3, "C_SignLength": 3, "C_WaitForSlotEvent": 0,
		} {
			c.wantCount(t, function, want)
		}
	})
}

func TestChaosFails(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		c := chaotic(t)
		u := use(t, c.Token)
		key := u.key("k")
		sign := func() error { _, err := u.sign(key, pkcs11.CKM_ECDSA); return err }

		c.Rule(t, "C_SignInit rv=0x30 after=1 count=2")
		for i, want := range []uint{0, 0x30, 0x30, 0} {
			if want == 0 {
				if err := sign(); err != nil {
					t.Fatalf("call %d: %v", i, err)
				}
				continue
			}
			wantRV(t, sign(), want)
		}

		// The call is made, so that the operation is over.
		c.Rule(t, "C_Sign after_rv=0xB3 count=1")
		wantRV(t, sign(), 0xB3)
		if err := sign(); err != nil {
			t.Fatal(err)
		}
		// The call is not made, so that the operation is still there.
		c.Rule(t, "C_Sign rv=0x30 count=1")
		wantRV(t, sign(), 0x30)
		wantRV(t, sign(), pkcs11.CKR_OPERATION_ACTIVE)
		if _, err := u.ctx.Sign(u.session, digest[:]); err != nil {
			t.Fatal(err)
		}

		c.Rule(t, "any rv=0x32")
		wantRV(t, sign(), 0x32)
		if _, err := u.ctx.GetSlotList(true); err == nil {
			t.Error("C_GetSlotList works")
		}
		if err := u.ctx.Finalize(); err != nil {
			t.Errorf("finalize: %v", err)
		}
		if err := u.ctx.Initialize(); err != nil {
			t.Errorf("initialize: %v", err)
		}
		c.Clear(t)
		if _, err := u.ctx.GetSlotList(true); err != nil {
			t.Error(err)
		}
	})
}

func TestChaosDelays(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		c := chaotic(t)
		u := use(t, c.Token)
		key := u.key("k")
		c.Rule(t, "C_Sign delay_ms=40")
		start := time.Now()
		for range 5 {
			if _, err := u.sign(key, pkcs11.CKM_ECDSA); err != nil {
				t.Fatal(err)
			}
		}
		took := time.Since(start)
		t.Logf("5 signatures with 40 ms each: %v", took)
		if took < 200*time.Millisecond || took > 2*time.Second {
			t.Errorf("took %v, want 200 ms", took)
		}
	})
}

func TestChaosHangs(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		c := chaotic(t)
		u := use(t, c.Token)
		key := u.key("k")
		c.Rule(t, "C_Sign hang")
		var wg sync.WaitGroup
		var err error
		wg.Go(func() { _, err = u.sign(key, pkcs11.CKM_ECDSA) })
		within(t, "the call hangs", func() bool { return c.Inside(t, "C_Sign") == 1 })
		c.Rule(t, "C_Login rv=0x30") // another rule does not free it
		if _, err := u.ctx.GetSlotList(true); err != nil {
			t.Error(err)
		}
		if c.Inside(t, "C_Sign") != 1 {
			t.Error("the call is over")
		}
		c.Clear(t)
		wg.Wait()
		if err != nil {
			t.Error(err)
		}
		if c.Inside(t, "C_Sign") != 0 {
			t.Error("the call is not over")
		}
	})
}

func TestChaosFalsifies(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		c := chaotic(t)
		u := use(t, c.Token)
		key := u.key("k")
		for _, tt := range []struct {
			rule         string
			own, another bool // whose signature it then is
		}{
			{"C_Sign flip count=1", false, false},
			{"C_SignInit wrongkey count=1", false, true},
			{"C_Sign delay_ms=1", true, false},
		} {
			c.Rule(t, tt.rule)
			sig, err := u.sign(key, pkcs11.CKM_ECDSA)
			if err != nil {
				t.Fatal(err)
			}
			if own, another := u.verifiesP256("k", sig), u.verifiesP256("other", sig); own != tt.own || another != tt.another {
				t.Errorf("%s: k's %t, other's %t", tt.rule, own, another)
			}
		}
	})
}

func TestChaosCrashes(t *testing.T) {
	if Role() == "victim" {
		use(t, victims(t)).mustSignP256("k")
		return
	}
	c := chaotic(t)
	c.Rule(t, "C_Sign crash")
	out, err := victim(t, c).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "crash, as the rules say") {
		t.Errorf("%v\n%s", err, out)
	}
	if c.Inside(t, "C_Sign") != 1 {
		t.Error("nothing died in C_Sign")
	}
}

// Counts of several processes add up, and so do calls that a rule waits for.
func TestChaosCountsProcesses(t *testing.T) {
	if Role() == "victim" {
		u := use(t, victims(t))
		for range 10 {
			u.mustSignP256("k")
		}
		return
	}
	c := chaotic(t)
	c.Rule(t, "C_SignInit rv=0x31 after=30 count=1")
	var failed sync.Map
	var wg sync.WaitGroup
	for i := range 4 {
		cmd := victim(t, c)
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				failed.Store(i, string(out))
			}
		})
		within(t, "it is logged in", func() bool { // two logins at once disturb each other, see SoftHSM
			return c.Count(t, "C_Login") == i+1 && c.Inside(t, "C_Login") == 0
		})
	}
	wg.Wait()
	n := 0
	failed.Range(func(_, out any) bool {
		n++
		if !strings.Contains(out.(string), "0x31") {
			t.Errorf("failed otherwise:\n%s", out)
		}
		return true
	})
	if n != 1 {
		t.Errorf("%d processes failed, want 1", n)
	}
	c.wantCount(t, "C_Login", 4)
	if got := c.Count(t, "C_SignInit"); got < 31 || got > 40 {
		t.Errorf("%d calls of C_SignInit, want 31 to 40", got)
	}
}

// victim is a child that uses c's token.
func victim(t *testing.T, c *Chaos) *exec.Cmd {
	cmd := Child(t, "victim")
	cmd.Env = append(cmd.Env, c.Env()...)
	cmd.Env = append(cmd.Env, "MODULE="+c.Module, "SERIAL="+c.Serial)
	return cmd
}

// victims is the token that victim was told of.
func victims(t *testing.T) *Token {
	t.Helper()
	return &Token{Module: os.Getenv("MODULE"), Label: "cap-test", Serial: os.Getenv("SERIAL"), PIN: UserPIN}
}

// Two shims in one process are two modules.
func TestChaosIsSeveral(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		c := chaotic(t)
		d := WithChaos(t, WithChaos(t, c.Token).Token) // and may stand in front of each other
		d.Rule(t, "C_SignInit rv=0x30")
		u := use(t, c.Token)
		u.mustSignP256("k")
		if err := u.ctx.Finalize(); err != nil {
			t.Fatal(err)
		}
		u = use(t, d.Token)
		_, err := u.sign(u.key("k"), pkcs11.CKM_ECDSA)
		wantRV(t, err, 0x30)
		c.wantCount(t, "C_Login", 2) // d's went through it
		d.wantCount(t, "C_Login", 1)
	})
}

func TestChaosKnowsNoSuchFunction(t *testing.T) {
	if Role() == "victim" {
		use(t, victims(t))
		return
	}
	c := chaotic(t)
	c.Rule(t, "C_Sgin rv=0x30")
	if out, err := victim(t, c).CombinedOutput(); err == nil || !strings.Contains(string(out), "C_Sgin") {
		t.Errorf("%v\n%s", err, out)
	}
}
