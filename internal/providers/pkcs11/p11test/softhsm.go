package p11test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// SoftHSM makes an initialised token without keys, in a token directory of its
// own.
//
// C_Login of SoftHSM 2.6 empties the token's file and writes it anew. A process
// that starts or logs in at that moment may be told that there is no such token
// (C_GetTokenInfo: 0x5), 0x5 or even CKR_USER_PIN_NOT_INITIALIZED by C_Login.
// All is well for it after C_Finalize and C_Initialize.
func SoftHSM(t testing.TB) *Token {
	t.Helper()
	return softHSM(t, "objectstore.backend = file\nlog.level = ERROR\n", UserPIN)
}

// softHSM is SoftHSM with the given settings, but for the token directory.
func softHSM(t testing.TB, settings, pin string) *Token {
	t.Helper()
	module := softHSMModule(t)
	program(t, "softhsm2", "softhsm2-util")
	dir := t.TempDir()
	tokens, conf := filepath.Join(dir, "tokens"), filepath.Join(dir, "softhsm2.conf")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	settings = fmt.Sprintf("directories.tokendir = %s\n%s", tokens, settings)
	if err := os.WriteFile(conf, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	tok := &Token{
		Module: module, admin: module, PIN: pin, SOPIN: soPIN,
		env: []string{"SOFTHSM2_CONF=" + conf}, dir: tokens,
	}
	tok.setenv(t)
	return tok.Another(t, "cap-test")
}

// softHSMModule is where SoftHSM's library is.
func softHSMModule(t testing.TB) string {
	t.Helper()
	return file(t, "softhsm2", "/usr/lib/softhsm/libsofthsm2.so",
		"/usr/lib/*/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")
}

// Another makes a further token behind the same SoftHSM, with the same PINs.
// Labels need not be unique. A process that has initialised the module does not
// see the token before it does so again.
func (tok *Token) Another(t testing.TB, label string) *Token {
	t.Helper()
	before := tok.serials(t)
	tok.run(t, "softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", tok.SOPIN, "--pin", tok.PIN)
	more := *tok
	more.Label = label
	for serial := range tok.serials(t) {
		if !before[serial] {
			more.Serial = serial
		}
	}
	return &more
}

// Hide moves SoftHSM's token directory away, as if the token had been pulled.
func (tok *Token) Hide(t testing.TB) {
	t.Helper()
	if err := os.Rename(tok.dir, tok.dir+".hidden"); err != nil {
		t.Fatal(err)
	}
}

// Restore undoes Hide. A process that looked in between sees the keys again
// only after C_Finalize and C_Initialize.
func (tok *Token) Restore(t testing.TB) {
	t.Helper()
	if err := os.Rename(tok.dir+".hidden", tok.dir); err != nil {
		t.Fatal(err)
	}
}
