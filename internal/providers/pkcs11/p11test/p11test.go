// Package p11test gives tests real PKCS#11 parts: tokens of SoftHSM and NSS, a
// TPM that locks and dies, an HSM on the other side of a socket, and a module
// that fails on demand.
//
//	tok := p11test.SoftHSM(t)
//	tok.Generate(t, capsign.ES256, "cap-signing", "01")
//	chaos := p11test.WithChaos(t, tok)
//	chaos.Rule("C_Sign rv=0x30 count=3") // now use chaos.Module
//
// Login state and C_Initialize belong to the process, so no rig calls a module
// in the process under test: tokens are filled by programs. Each rig sets the
// environment its module needs, of this process too ([testing.T.Setenv]), and
// ends all it started with the test, or with the process. A test that must not
// share a module's state with the others runs in a process of its own, by
// [OwnProcess].
//
// A rig whose parts are not installed skips its test and says which Debian
// package is missing; CAP_TEST_REQUIRE_RIGS=1 makes that a failure.
package p11test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The PINs of every token made here.
const (
	UserPIN = "user-pin-zx"
	soPIN   = "5678"
)

// WrongPIN is a PIN of no token made here.
const WrongPIN = "wrong-pin-qz"

// Token is a real token behind a real module, made for one test.
type Token struct {
	// Module is the absolute path of the module to use.
	Module string
	// InitArgs is what C_Initialize needs as pReserved; empty means nil.
	InitArgs string
	// Label and Serial name the token, without the padding.
	Label, Serial string
	// PIN and SOPIN are the PINs of the user and of the security officer.
	PIN, SOPIN string

	env   []string // what the module needs in the environment, as NAME=value
	admin string   // the module that fills the token, not counted by any shim
	dir   string   // where SoftHSM keeps its tokens; empty for others
}

// Env returns what a child process needs in its environment to see the token,
// as NAME=value; the PIN is not in it.
func (tok *Token) Env() []string { return append([]string(nil), tok.env...) }

// Variant is a copy of the token for a configuration that is wrong in one
// thing, which change makes so.
func (tok *Token) Variant(change func(*Token)) *Token {
	c := *tok
	change(&c)
	return &c
}

// setenv puts the token's environment into this process's, until the test ends.
func (tok *Token) setenv(t testing.TB) {
	t.Helper()
	for _, e := range tok.env {
		name, value, _ := strings.Cut(e, "=")
		t.Setenv(name, value)
	}
}

// file returns the first file that matches one of the patterns, or skips the
// test for want of a Debian package.
func file(t testing.TB, debian string, patterns ...string) string {
	t.Helper()
	for _, pattern := range patterns {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0]
		}
	}
	missing(t, debian, patterns[0])
	return ""
}

// program is file for a program on the path, or in /usr/sbin, which only root
// has there.
func program(t testing.TB, debian, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return file(t, debian, "/usr/sbin/"+name)
}

// missing skips the test or, where rigs are required, fails it.
func missing(t testing.TB, debian, what string) {
	t.Helper()
	if os.Getenv("CAP_TEST_REQUIRE_RIGS") == "1" {
		t.Fatalf("p11test: %s is missing and CAP_TEST_REQUIRE_RIGS=1: apt-get install %s", what, debian)
	}
	t.Skipf("p11test: %s is missing: apt-get install %s", what, debian)
}
