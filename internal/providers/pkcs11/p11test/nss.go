package p11test

import (
	"os"
	"path/filepath"
	"testing"
)

// NSS makes the token of an NSS database: another vendor's module, which needs
// InitArgs and has P-256 and P-384. It has no PIN of a security officer.
func NSS(t testing.TB) *Token {
	t.Helper()
	module := file(t, "libnss3", "/usr/lib/*/libsoftokn3.so", "/usr/lib/*/nss/libsoftokn3.so", "/usr/lib64/libsoftokn3.so")
	program(t, "libnss3-tools", "certutil")
	dir := t.TempDir()
	pin := filepath.Join(dir, "pin")
	if err := os.WriteFile(pin, []byte(UserPIN+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tok := &Token{
		Module:   module,
		InitArgs: "configdir='sql:" + dir + "' certPrefix='' keyPrefix='' secmod='secmod.db' flags=",
		Label:    "NSS Certificate DB",
		PIN:      UserPIN,
	}
	tok.run(t, "certutil", "-N", "-d", "sql:"+dir, "-f", pin)
	tok.admin = WithChaos(t, tok).Module // a shim, since pkcs11-tool cannot pass InitArgs
	for serial := range tok.serials(t) {
		tok.Serial = serial // both tokens of the module have the same
	}
	return tok
}
