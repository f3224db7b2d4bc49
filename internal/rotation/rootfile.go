package rotation

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/capsign/cap/capsign"
)

const (
	// maxRootFile is the largest root key file that is read, in bytes.
	maxRootFile = 64 << 10
	// maxWorkFactor bounds the memory that opening a file may take to 1 GiB; age
	// itself writes 18.
	maxWorkFactor = 20
)

// RootFault is what is wrong with a root key file.
type RootFault string

// The faults of root key files.
const (
	RootPassphrase  RootFault = "passphrase"     // it is wrong, or empty
	RootMissing     RootFault = "no file"        // there is no such file
	RootUnreadable  RootFault = "file"           // it cannot be read, or is none
	RootUnsafe      RootFault = "mode"           // others may read or replace it
	RootUnencrypted RootFault = "not encrypted"  // it holds a key in the clear
	RootNoKey       RootFault = "no ed25519 key" // what it holds is not one key
	RootTaken       RootFault = "name is taken"  // a file to be made is there
	RootUnwritable  RootFault = "cannot be written"
)

// RootError says what is wrong with a root key file. It wraps
// [capsign.RootRefused] and names no path.
type RootError struct{ Fault RootFault }

// Error names the fault.
func (e *RootError) Error() string {
	return fmt.Sprintf("rotation: root key: %s: %v", e.Fault, capsign.RootRefused)
}

// Unwrap returns [capsign.RootRefused].
func (e *RootError) Unwrap() error { return capsign.RootRefused }

// refuseRoot returns the error for a fault of a root key file.
func refuseRoot(fault RootFault) error { return &RootError{fault} }

// CreateRootFile makes an Ed25519 root key and writes it to a file of mode 0600
// that was not there before: PKCS#8 in PEM, encrypted with the passphrase in
// age's armor, as cap's software keys are. Once it returns the file is whole
// and on disk. workFactor is scrypt's log N; 0 means age's own. Errors are
// [RootError], or wrap [capsign.Internal].
func CreateRootFile(path string, passphrase []byte, workFactor int) (RootSigner, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, refuse("root key", capsign.Internal)
	}
	content, err := encryptRoot(key, passphrase, workFactor)
	if err != nil {
		return nil, err
	}
	if err := writeRootFile(path, content); err != nil {
		return nil, err
	}
	return SoftwareRoot(key)
}

// OpenRootFile reads a root key file. It must be a regular file that nobody but
// its owner may read or write, and hold one Ed25519 key, encrypted with the
// passphrase. Errors are [RootError].
func OpenRootFile(path string, passphrase []byte) (RootSigner, error) {
	content, err := readRootFile(path)
	if err != nil {
		return nil, err
	}
	plain, err := decryptRoot(content, passphrase)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	key, err := parseRoot(plain)
	if err != nil {
		return nil, err
	}
	return SoftwareRoot(key)
}

// encryptRoot returns what goes into a root key file.
func encryptRoot(key ed25519.PrivateKey, passphrase []byte, workFactor int) ([]byte, error) {
	recipient, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return nil, refuseRoot(RootPassphrase) // age refuses an empty one
	}
	if workFactor != 0 {
		recipient.SetWorkFactor(workFactor)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, refuse("root key", capsign.Internal)
	}
	defer clear(der)
	plain := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	defer clear(plain)
	var file bytes.Buffer
	armored := armor.NewWriter(&file)
	content, err := age.Encrypt(armored, recipient)
	if err != nil {
		return nil, refuse("root key", capsign.Internal)
	}
	_, writeErr := content.Write(plain)
	if err := errors.Join(writeErr, content.Close(), armored.Close()); err != nil {
		return nil, refuse("root key", capsign.Internal)
	}
	return file.Bytes(), nil
}

// decryptRoot opens an armored age file.
func decryptRoot(content, passphrase []byte) ([]byte, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(content), []byte(armor.Header)) {
		if bytes.Contains(content, []byte("PRIVATE KEY-----")) {
			return nil, refuseRoot(RootUnencrypted)
		}
		return nil, refuseRoot(RootNoKey)
	}
	identity, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, refuseRoot(RootPassphrase)
	}
	identity.SetMaxWorkFactor(maxWorkFactor)
	plain, err := age.Decrypt(armor.NewReader(bytes.NewReader(content)), identity)
	if wrong := new(age.NoIdentityMatchError); errors.As(err, &wrong) {
		return nil, refuseRoot(RootPassphrase)
	}
	if err != nil {
		return nil, refuseRoot(RootNoKey)
	}
	key, err := io.ReadAll(io.LimitReader(plain, maxRootFile))
	if err != nil {
		clear(key)
		return nil, refuseRoot(RootNoKey)
	}
	return key, nil
}

// parseRoot parses the one key that PEM holds.
func parseRoot(plain []byte) (ed25519.PrivateKey, error) {
	block, rest := pem.Decode(plain)
	if block == nil || block.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) != 0 {
		return nil, refuseRoot(RootNoKey)
	}
	defer clear(block.Bytes)
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, refuseRoot(RootNoKey)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, refuseRoot(RootNoKey)
	}
	return key, nil
}

// readRootFile reads a file that is its owner's alone. It does not wait for the
// other end of a pipe.
func readRootFile(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, refuseRoot(RootMissing)
	case err != nil:
		return nil, refuseRoot(RootUnreadable)
	}
	defer file.Close() //nolint:errcheck // nothing was written
	info, err := file.Stat()
	switch {
	case err != nil, !info.Mode().IsRegular(), info.Size() > maxRootFile:
		return nil, refuseRoot(RootUnreadable)
	case info.Mode().Perm()&0o077 != 0:
		return nil, refuseRoot(RootUnsafe)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxRootFile))
	if err != nil {
		return nil, refuseRoot(RootUnreadable)
	}
	return content, nil
}

// writeRootFile writes a file under a name that is free, whole or not at all:
// under another name first, since a link fails where a rename would replace.
func writeRootFile(path string, content []byte) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".root-*.tmp") // mode 0600
	if err != nil {
		return refuseRoot(RootUnwritable)
	}
	defer os.Remove(temporary.Name()) //nolint:errcheck // what stays is in nobody's way
	_, writeErr := temporary.Write(content)
	if err := errors.Join(writeErr, temporary.Sync(), temporary.Close()); err != nil {
		return refuseRoot(RootUnwritable)
	}
	err = os.Link(temporary.Name(), path)
	switch {
	case errors.Is(err, fs.ErrExist):
		return refuseRoot(RootTaken)
	case err != nil:
		return refuseRoot(RootUnwritable)
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a directory's new entry outlast a power cut.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return refuseRoot(RootUnwritable)
	}
	defer dir.Close() //nolint:errcheck // nothing was written
	if err := dir.Sync(); err != nil {
		return refuseRoot(RootUnwritable)
	}
	return nil
}
