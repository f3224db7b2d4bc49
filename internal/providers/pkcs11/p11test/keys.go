package p11test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

// Options of Generate. They are pkcs11-tool's.
const (
	// AlwaysAuthenticate sets CKA_ALWAYS_AUTHENTICATE of the private key.
	AlwaysAuthenticate = "--always-auth"
	// Extractable sets CKA_EXTRACTABLE of the private key.
	Extractable = "--extractable"
)

// keyTypes are pkcs11-tool's names.
var keyTypes = map[capsign.Alg]string{
	capsign.Ed25519: "EC:edwards25519",
	capsign.ES256:   "EC:prime256v1",
	capsign.ES384:   "EC:secp384r1",
	capsign.PS256:   "rsa:2048",
	capsign.RS256:   "rsa:2048",
}

// Generate makes a key pair for alg with this CKA_LABEL and, in hexadecimal,
// CKA_ID. Running processes see it at once.
func (tok *Token) Generate(t testing.TB, alg capsign.Alg, label, id string, options ...string) {
	t.Helper()
	tok.tool(t, append([]string{"--keypairgen", "--key-type", keyTypes[alg], "--label", label, "--id", id}, options...)...)
}

// Import puts a private key, PKCS#8 as PEM, and its public key into a SoftHSM
// token. A second import with the same names makes a duplicate.
func (tok *Token) Import(t testing.TB, pkcs8PEM []byte, label, id string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, pkcs8PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	tok.run(t, "softhsm2-util", "--import", path, "--force", "--serial", tok.Serial,
		"--label", label, "--id", id, "--pin", tok.PIN)
}

// Certificate puts a certificate, DER, beside the key with that CKA_ID.
func (tok *Token) Certificate(t testing.TB, der []byte, label, id string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cert.der")
	if err := os.WriteFile(path, der, 0o600); err != nil {
		t.Fatal(err)
	}
	tok.tool(t, "--write-object", path, "--type", "cert", "--label", label, "--id", id)
}

// DeletePublic removes the public key object with that CKA_ID, or the first of
// several.
func (tok *Token) DeletePublic(t testing.TB, id string) {
	t.Helper()
	tok.tool(t, "--delete-object", "--type", "pubkey", "--id", id)
}

// DeletePrivate removes the private key object with that CKA_ID, or the first
// of several.
func (tok *Token) DeletePrivate(t testing.TB, id string) {
	t.Helper()
	tok.tool(t, "--delete-object", "--type", "privkey", "--id", id)
}

// ChangePIN gives the user another PIN, tok.PIN included.
func (tok *Token) ChangePIN(t testing.TB, pin string) {
	t.Helper()
	tok.tool(t, "--change-pin", "--new-pin", pin)
	tok.PIN = pin
}

// tool runs pkcs11-tool, logged in.
func (tok *Token) tool(t testing.TB, args ...string) {
	t.Helper()
	program(t, "opensc", "pkcs11-tool")
	tok.run(t, "pkcs11-tool", append([]string{
		"--module", tok.admin, "--token-label", tok.Label, "--login", "--pin", tok.PIN,
	}, args...)...)
}

// serialLine is a token's serial number as pkcs11-tool lists it.
var serialLine = regexp.MustCompile(`(?m)^ *serial num +: (\S*)$`)

// serials are the serial numbers of the initialised tokens.
func (tok *Token) serials(t testing.TB) map[string]bool {
	t.Helper()
	program(t, "opensc", "pkcs11-tool")
	seen := map[string]bool{}
	out := tok.run(t, "pkcs11-tool", "--module", tok.admin, "--list-token-slots")
	for _, m := range serialLine.FindAllStringSubmatch(out, -1) {
		seen[m[1]] = true
	}
	return seen
}

// run runs a program in the token's environment and fails the test if it fails.
func (tok *Token) run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := tok.try(t, name, args...)
	if err != nil {
		t.Fatalf("p11test: %s %q: %v\n%s", name, args, err, out)
	}
	return out
}

// try is run for a program that may fail. It gets 30 s.
func (tok *Token) try(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second) // cleanups run programs too
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), tok.env...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}
