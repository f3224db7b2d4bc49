//go:build cgo

package p11test

import (
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/capsign/cap/capsign"
)

func TestNSSSigns(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		tok := NSS(t)
		tok.Generate(t, capsign.ES256, "p256", "01")
		tok.Generate(t, capsign.ES384, "p384", "02")
		u := use(t, tok)
		u.mustSignP256("p256")
		if sig, err := u.sign(u.key("p384"), pkcs11.CKM_ECDSA); err != nil || len(sig) != 96 {
			t.Errorf("%d bytes, %v", len(sig), err)
		}
	})
}

// Behind the shim, a caller needs no InitArgs.
func TestNSSBehindTheShim(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		c := WithChaos(t, NSS(t))
		c.InitArgs = ""
		c.Generate(t, capsign.ES256, "k", "01")
		use(t, c.Token).mustSignP256("k")
	})
}
