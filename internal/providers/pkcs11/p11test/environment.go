package p11test

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FromEnvironment makes a SoftHSM token as SOFTHSM2_CONF and PKCS11_PIN say, and
// reports false where SOFTHSM2_CONF is not set. PKCS11_PIN becomes the token's
// PIN; without it the PIN is UserPIN.
//
// A relative SOFTHSM2_CONF counts from the working directory, which is the
// package's under go test, or from any directory above, such as the
// repository's, where the command was typed. The file is a model: its settings
// hold, but for the token directory, which is a new and empty one, so that no
// test touches tokens of the user's and nothing is left behind.
func FromEnvironment(t testing.TB) (*Token, bool) {
	t.Helper()
	conf := os.Getenv("SOFTHSM2_CONF")
	if conf == "" {
		return nil, false
	}
	text, err := os.ReadFile(upwards(t, conf))
	if err != nil {
		t.Fatalf("p11test: SOFTHSM2_CONF=%s: %v", conf, err)
	}
	var settings strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(strings.TrimSpace(line), "directories.tokendir") {
			settings.WriteString(line)
		}
	}
	return softHSM(t, settings.String(), cmp.Or(os.Getenv("PKCS11_PIN"), UserPIN)), true
}

// upwards finds a relative path from the working directory or one above it; it
// returns the path as it is where there is no such file.
func upwards(t testing.TB, path string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for !filepath.IsAbs(path) {
		found := filepath.Join(dir, path)
		if _, err := os.Stat(found); err == nil {
			return found
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return path
}
