//go:build cgo && !nopkcs11

package pkcs11

import (
	"sync"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/pkcs11/p11test"
)

func TestWrongPINIsTriedOnce(t *testing.T) {
	chaos, cfg := chaotic(t)
	cfg.PIN = []byte(p11test.WrongPIN)
	for range 3 {
		mustNotOpen(t, cfg, capsign.PINIncorrect)
	}
	wantCount(t, chaos, "C_Login", 0, 1)
}

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

func TestLockMetWhileSigningIsTold(t *testing.T) {
	chaos, cfg := chaotic(t)
	p := opened(t, cfg)
	chaos.Rule(t, "C_Sign rv=0xA4 count=1")
	mustFail(t, p, capsign.TokenLocked)
	mustFail(t, p, capsign.TokenLocked)
	mustNotOpen(t, cfg, capsign.TokenLocked)
	wantCount(t, chaos, "C_Login", 0, 1)
}

func TestAlwaysAuthenticate(t *testing.T) {
	tok := p11test.SoftHSM(t)
	tok.Generate(t, capsign.ES256, keyName, "01", p11test.AlwaysAuthenticate)
	chaos := p11test.WithChaos(t, tok)
	cfg := configFor(chaos.Token)
	p := opened(t, cfg)
	mustSign(t, p, "")
	wantCount(t, chaos, "C_Login", 0, 3) // the user, the self-test and the signature
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}

	before := chaos.Count(t, "C_Login")
	cfg.KeyPIN = []byte(p11test.WrongPIN)
	for range 3 {
		mustNotOpen(t, cfg, capsign.PINIncorrect)
	}
	wantCount(t, chaos, "C_Login", before, 2) // the user once, the key once
	cfg.KeyPIN, cfg.Guard = cfg.PIN, newOneLogin()
	mustSign(t, opened(t, cfg), "")
}

func TestKeyPINIsTriedOnceByMany(t *testing.T) {
	tok := p11test.SoftHSM(t)
	tok.Generate(t, capsign.ES256, keyName, "01", p11test.AlwaysAuthenticate)
	chaos := p11test.WithChaos(t, tok)
	p := opened(t, configFor(chaos.Token))
	before := chaos.Count(t, "C_Login")
	chaos.Rule(t, "C_Login rv=0xA0 delay_ms=20")
	done := make(chan struct{})
	for range 16 {
		go func() {
			mustFail(t, p, capsign.PINIncorrect)
			done <- struct{}{}
		}()
	}
	for range 16 {
		<-done
	}
	wantCount(t, chaos, "C_Login", before, 1)
}
