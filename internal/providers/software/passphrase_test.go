package software

import (
	"bytes"
	"encoding/pem"
	"errors"
	"testing"

	"github.com/capsign/cap/capsign"
)

func TestPassphraseMustFit(t *testing.T) {
	plain, encrypted := newConfig(t, ""), withPassphrase(newConfig(t, ""))
	generate(t, plain)
	generate(t, encrypted)
	with := func(cfg Config, passphrase []byte) Config {
		cfg.Passphrase = passphrase
		return cfg
	}
	mustNotOpen(t, with(encrypted, nil), capsign.PassphraseIncorrect)
	mustNotOpen(t, with(encrypted, []byte("wrong")), capsign.PassphraseIncorrect)
	mustNotOpen(t, with(encrypted, []byte{}), capsign.ConfigInvalid)
	mustNotOpen(t, with(plain, []byte("any")), capsign.KeyFileUnsafe)
	mustNotOpen(t, with(plain, []byte{}), capsign.ConfigInvalid)
	if _, err := Generate(t.Context(), with(plain, []byte{})); !errors.Is(err, capsign.ConfigInvalid) {
		t.Errorf("Generate with an empty passphrase = %v, want %v", err, capsign.ConfigInvalid)
	}
}

// A file may ask for so much memory that opening it stops the machine.
func TestExcessiveWorkIsRefused(t *testing.T) {
	armored, binary := testdata(t, "rfc8410.age.pem"), testdata(t, "p256.age")
	costly := bytes.Replace(binary, []byte(" 8\n"), []byte(" 21\n"), 1)
	if _, err := parseKeyFile(costly, []byte("correct horse")); !errors.Is(err, capsign.KeyFileInvalid) {
		t.Errorf("work factor 21: %v, want %v", err, capsign.KeyFileInvalid)
	}
	doubled := append(bytes.Clone(armored), armored...)
	if _, err := parseKeyFile(doubled, []byte("correct horse")); !errors.Is(err, capsign.KeyFileInvalid) {
		t.Errorf("two age files: %v, want %v", err, capsign.KeyFileInvalid)
	}
}

func TestTruncatedEncryptedFilesAreRefused(t *testing.T) {
	passphrase := []byte("correct horse")
	armored, err := encrypt(testdata(t, "rfc8410-v1.pem"), passphrase, 1)
	must(t, err)
	block, _ := pem.Decode(armored)
	for name, whole := range map[string][]byte{"armored": bytes.TrimSpace(armored), "binary": block.Bytes} {
		if _, err := parseKeyFile(whole, passphrase); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for length := range len(whole) {
			if _, err := parseKeyFile(whole[:length], passphrase); !errors.Is(err, capsign.KeyFileInvalid) {
				t.Errorf("%s cut to %d bytes: %v, want %v", name, length, err, capsign.KeyFileInvalid)
			}
		}
	}
}

// Age authenticates what it encrypts, so that no bit can be changed unseen.
func TestChangedEncryptedFilesAreRefused(t *testing.T) {
	passphrase := []byte("correct horse")
	armored, err := encrypt(testdata(t, "rfc8410-v1.pem"), passphrase, 1)
	must(t, err)
	block, _ := pem.Decode(armored)
	for i := range block.Bytes {
		changed := bytes.Clone(block.Bytes)
		changed[i] ^= 1
		if private, err := parseKeyFile(changed, passphrase); err == nil || private != nil {
			t.Errorf("byte %d changed: the file is accepted", i)
		}
	}
}
