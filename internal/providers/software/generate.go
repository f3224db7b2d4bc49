package software

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/capsign/cap/capsign"
)

// Generate makes a new key, writes it as the key's next version and returns its
// kid. When it returns without an error, the file is whole and on disk under a
// name that no version had: of two processes that generate at once, each makes
// a version of its own. After an error there is no new version, unless the disk
// failed in the very last step, and what an interrupted Generate leaves behind
// is a hidden file that nothing reads. Providers that are open already learn
// of the new version by their Reload.
//
// It wraps [capsign.UnsupportedAlg] for an algorithm other than Ed25519 and
// ES256, [capsign.KeyFileUnsafe] where others may write to the directory, and
// [capsign.ConfigInvalid] or [capsign.ProviderUnavailable] where the file
// cannot be written.
func Generate(ctx context.Context, cfg Config) (kid string, err error) {
	private, err := newPrivateKey(cmp.Or(cfg.Alg, capsign.Ed25519))
	if err != nil {
		return "", err
	}
	made, err := newVersion(private, cfg.KeyName)
	if err != nil {
		return "", err
	}
	defer made.wipe()
	if err := makeDir(cfg.Dir); err != nil {
		return "", fmt.Errorf("software: generate key: %w", ioCode(err))
	}
	dir, err := cfg.openDir("generate key")
	if err != nil {
		return "", err
	}
	defer dir.Close()
	file, err := encodeKeyFile(private, cfg)
	if err != nil {
		return "", err
	}
	defer clear(file)
	if ctx.Err() != nil {
		return "", dir.refuse(capsign.ProviderTimeout)
	}
	if err := dir.create(file, made.key.KID); err != nil {
		return "", err
	}
	return made.key.KID, nil
}

// makeDir makes the directory of the key files where it is missing, and its
// entry outlast a power cut.
func makeDir(path string) error {
	if _, err := os.Stat(path); path == "" || !errors.Is(err, fs.ErrNotExist) {
		return nil // there is nothing to make; openDir says what is wrong
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(filepath.Clean(path)))
	if err != nil {
		return err
	}
	defer parent.Close()
	return parent.Sync()
}

// newPrivateKey makes a private key for alg.
func newPrivateKey(alg capsign.Alg) (crypto.Signer, error) {
	switch alg {
	case capsign.Ed25519:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("software: generate key: %w", capsign.Internal)
		}
		return private, nil
	case capsign.ES256:
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("software: generate key: %w", capsign.Internal)
		}
		return private, nil
	}
	return nil, fmt.Errorf("software: generate key: %w", capsign.UnsupportedAlg)
}

// encodeKeyFile returns what goes into the file: PKCS#8 in PEM, in age's armor
// where there is a passphrase.
func encodeKeyFile(private crypto.Signer, cfg Config) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("software: generate key: %w", capsign.Internal)
	}
	defer clear(der)
	plain := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if cfg.Passphrase == nil {
		return plain, nil
	}
	defer clear(plain)
	return encrypt(plain, cfg.Passphrase, cfg.workFactor)
}

// create writes file under the first free version number. It writes under a
// temporary name, reads the key back, and only then links the version's name to
// it, which fails where the name is taken.
func (d *keyDir) create(file []byte, kid string) error {
	temporary := ".generate-" + rand.Text() + ".tmp"
	defer func() { _ = d.Remove(temporary) }() // what stays is in nobody's way
	if err := d.writeNew(temporary, file); err != nil {
		return err
	}
	if v, err := d.load(temporary); err != nil {
		return err
	} else if v.key.KID != kid {
		return d.refuse(capsign.Integrity)
	}
	if err := d.link(temporary); err != nil {
		return err
	}
	return d.sync()
}

// writeNew writes a file that was not there before through to the disk.
func (d *keyDir) writeNew(name string, content []byte) error {
	file, err := d.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return d.ioError(err)
	}
	_, writeErr := file.Write(content)
	if err := cmp.Or(writeErr, file.Sync()); err != nil {
		_ = file.Close()
		return d.ioError(err)
	}
	if err := file.Close(); err != nil {
		return d.ioError(err)
	}
	return nil
}

// link gives the temporary file the name of the next version. Where another
// process was faster, it takes the one after.
func (d *keyDir) link(temporary string) error {
	for {
		numbers, err := d.versions()
		if err != nil {
			return err
		}
		next := 1
		if len(numbers) > 0 {
			next = numbers[len(numbers)-1] + 1
		}
		if next < 1 { // the highest int is taken
			return d.refuse(capsign.ConfigInvalid)
		}
		err = d.Link(temporary, d.fileName(next))
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return d.ioError(err)
		}
	}
}

// sync makes the directory's new entry outlast a power cut.
func (d *keyDir) sync() error {
	list, err := d.Open(".")
	if err != nil {
		return d.ioError(err)
	}
	defer list.Close()
	if err := list.Sync(); err != nil {
		return d.ioError(err)
	}
	return nil
}
