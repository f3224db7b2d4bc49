package rotation_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

const passphrase = "correct horse"

// lightScrypt keeps the tests fast.
const lightScrypt = 10

// rootFile makes a root key file and returns its path and its root.
func rootFile(t *testing.T) (string, rotation.RootSigner) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "root.key")
	root, err := rotation.CreateRootFile(path, []byte(passphrase), lightScrypt)
	if err != nil {
		t.Fatal(err)
	}
	return path, root
}

func TestARootFileIsTheRootThatWasMade(t *testing.T) {
	path, made := rootFile(t)
	opened, err := rotation.OpenRootFile(path, []byte(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	if opened.Public().Fingerprint() != made.Public().Fingerprint() {
		t.Error("another root was opened")
	}
	sig, err := opened.Sign(context.Background(), []byte("msg"))
	if err != nil {
		t.Fatal(err)
	}
	if err := made.Public().Verify([]byte("msg"), sig); err != nil {
		t.Error(err)
	}
}

func TestARootFileIsItsOwnersAndEncrypted(t *testing.T) {
	path, _ := rootFile(t)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	content, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(content), armor.Header) || bytes.Contains(content, []byte("PRIVATE KEY")) {
		t.Errorf("the file holds %q, %v", content, err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside it: %v, %v", entries, err)
	}
}

func TestRootFilesThatAreRefused(t *testing.T) {
	good, _ := rootFile(t)
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	place := func(name string, data []byte, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, data, 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cut := content[:len(content)/2]
	for name, tc := range map[string]struct {
		path, passphrase string
		want             rotation.RootFault
	}{
		"wrong passphrase": {good, "wrong", rotation.RootPassphrase},
		"no passphrase":    {good, "", rotation.RootPassphrase},
		"no file":          {filepath.Join(dir, "none"), passphrase, rotation.RootMissing},
		"a directory":      {dir, passphrase, rotation.RootUnreadable},
		"readable by all":  {place("open", content, 0o644), passphrase, rotation.RootUnsafe},
		"cut short":        {place("cut", cut, 0o600), passphrase, rotation.RootNoKey},
		"nothing":          {place("empty", nil, 0o600), passphrase, rotation.RootNoKey},
		"endless":          {place("long", make([]byte, 1<<20), 0o600), passphrase, rotation.RootUnreadable},
		"in the clear":     {place("clear", pkcs8(t), 0o600), passphrase, rotation.RootUnencrypted},
		"a P-256 key":      {place("p256", encrypted(t, pkcs8(t)), 0o600), passphrase, rotation.RootNoKey},
		"no key at all":    {place("text", encrypted(t, []byte("hello")), 0o600), passphrase, rotation.RootNoKey},
		"two keys":         {place("two", encrypted(t, append(ed25519Key(t), ed25519Key(t)...)), 0o600), passphrase, rotation.RootNoKey},
	} {
		root, err := rotation.OpenRootFile(tc.path, []byte(tc.passphrase))
		fault, ok := errors.AsType[*rotation.RootError](err)
		if root != nil || !ok || fault.Fault != tc.want || !errors.Is(err, capsign.RootRefused) {
			t.Errorf("%s: %v, %v; want %s", name, root, err, tc.want)
		}
		if err != nil && (strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), tc.passphrase) && tc.passphrase == "wrong") {
			t.Errorf("%s: the error says too much: %v", name, err)
		}
	}
}

func TestMakingARootReplacesNothing(t *testing.T) {
	path, _ := rootFile(t)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		path, passphrase string
		want             rotation.RootFault
	}{
		"there already": {path, passphrase, rotation.RootTaken},
		"no directory":  {filepath.Join(t.TempDir(), "none", "root.key"), passphrase, rotation.RootUnwritable},
		"no passphrase": {filepath.Join(t.TempDir(), "root.key"), "", rotation.RootPassphrase},
	} {
		_, err := rotation.CreateRootFile(tc.path, []byte(tc.passphrase), lightScrypt)
		if fault, ok := errors.AsType[*rotation.RootError](err); !ok || fault.Fault != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Error("the root key file was changed")
	}
}

// ed25519Key returns an Ed25519 key in the clear.
func ed25519Key(t *testing.T) []byte {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return inPEM(t, key)
}

// pkcs8 returns a P-256 key in the clear.
func pkcs8(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return inPEM(t, key)
}

// inPEM returns a key as PKCS#8 in PEM.
func inPEM(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// encrypted returns an armored age file.
func encrypted(t *testing.T, plain []byte) []byte {
	t.Helper()
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	recipient.SetWorkFactor(lightScrypt)
	var file bytes.Buffer
	armored := armor.NewWriter(&file)
	w, err := age.Encrypt(armored, recipient)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(plain)
	if err := errors.Join(err, w.Close(), armored.Close()); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}
