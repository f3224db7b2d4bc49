//go:build cgo

package p11test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/capsign/cap/capsign"
)

func TestFromEnvironment(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		t.Setenv("SOFTHSM2_CONF", "tests/softhsm2.conf") // the repository's, four directories above
		t.Setenv("PKCS11_PIN", "987654")
		tok, ok := FromEnvironment(t)
		if !ok || tok.PIN != "987654" {
			t.Fatalf("%+v, %t", tok, ok)
		}
		if conf := os.Getenv("SOFTHSM2_CONF"); !filepath.IsAbs(conf) {
			t.Errorf("SOFTHSM2_CONF=%s", conf)
		}
		tok.Generate(t, capsign.Ed25519, "k", "01")
		use(t, tok).mustSignEd25519("k")
	})
}

func TestFromEnvironmentWithout(t *testing.T) {
	t.Setenv("SOFTHSM2_CONF", "")
	if tok, ok := FromEnvironment(t); ok {
		t.Errorf("%+v", tok)
	}
}
