//go:build cgo

package p11test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/capsign/cap/capsign"
)

func TestSoftHSMSigns(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		tok := SoftHSM(t)
		tok.Generate(t, capsign.ES256, "p256", "01")
		tok.Generate(t, capsign.Ed25519, "ed", "02")
		u := use(t, tok)
		u.mustSignP256("p256")
		u.mustSignEd25519("ed")
		tok.Generate(t, capsign.ES256, "p256.2", "03") // rotation, seen at once
		u.mustSignP256("p256.2")
	})
}

// SoftHSM signs with an imported key what Go would.
func TestSoftHSMImports(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		tok := SoftHSM(t)
		_, private, _ := ed25519.GenerateKey(nil)
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		tok.Import(t, text, "ed", "01")
		u := use(t, tok)
		sig, err := u.sign(u.key("ed"), ckmEDDSA)
		if err != nil || string(sig) != string(ed25519.Sign(private, digest[:])) {
			t.Fatalf("%x, %v: not the key that was imported", sig, err)
		}

		tok.Import(t, text, "ed", "01")
		if n := len(u.find(pkcs11.CKO_PRIVATE_KEY, "ed")); n != 2 {
			t.Errorf("%d keys after a second import, want 2", n)
		}
		tok.DeletePrivate(t, "01")
		tok.DeletePublic(t, "01")
		if n := len(u.find(pkcs11.CKO_PUBLIC_KEY, "ed")); n != 1 {
			t.Errorf("%d public keys after one was deleted, want 1", n)
		}
		tok.DeletePublic(t, "01")
		if n := len(u.find(pkcs11.CKO_PUBLIC_KEY, "ed")); n != 0 {
			t.Errorf("%d public keys after both were deleted, want 0", n)
		}
		u.key("ed")
	})
}

func TestSoftHSMAsksForThePINEachTime(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		tok := SoftHSM(t)
		tok.Generate(t, capsign.ES256, "careful", "01", AlwaysAuthenticate)
		u := use(t, tok)
		_, err := u.sign(u.key("careful"), pkcs11.CKM_ECDSA)
		wantRV(t, err, pkcs11.CKR_USER_NOT_LOGGED_IN)
	})
}

func TestSoftHSMPINs(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		tok := SoftHSM(t)
		tok.ChangePIN(t, "123456")
		u := open(t, tok)
		wantRV(t, u.ctx.Login(u.session, pkcs11.CKU_USER, UserPIN), pkcs11.CKR_PIN_INCORRECT)
		if err := u.ctx.Login(u.session, pkcs11.CKU_USER, "123456"); err != nil {
			t.Fatal(err)
		}
	})
}

func TestSoftHSMHasSeveralTokens(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		first := SoftHSM(t)
		second := first.Another(t, "other")
		third := first.Another(t, "cap-test")
		if first.Serial == "" || third.Serial == first.Serial || second.Serial == first.Serial {
			t.Fatalf("serials %q %q %q", first.Serial, second.Serial, third.Serial)
		}
		second.Generate(t, capsign.ES256, "k", "01")
		use(t, second).mustSignP256("k")
	})
}

// A token directory that went away and came back is seen again only after
// C_Finalize and C_Initialize.
func TestSoftHSMHides(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		tok := SoftHSM(t)
		tok.Generate(t, capsign.ES256, "k", "01")
		u := use(t, tok)
		key := u.key("k")
		tok.Hide(t)
		_, err := u.sign(key, pkcs11.CKM_ECDSA)
		wantRV(t, err, pkcs11.CKR_OBJECT_HANDLE_INVALID)
		tok.Restore(t)
		if n := len(u.find(pkcs11.CKO_PRIVATE_KEY, "k")); n != 0 {
			t.Errorf("%d keys before C_Finalize, want 0", n)
		}
		if err := u.ctx.Finalize(); err != nil {
			t.Fatal(err)
		}
		use(t, tok).mustSignP256("k")
	})
}
