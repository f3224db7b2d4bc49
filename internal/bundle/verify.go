package bundle

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/capsign/cap/capsign"
)

// Check verifies a signature of msg by the key version that goes by a kid or an
// SPKI SHA-256, and says whether that key version counts: a keyring's Verify or
// [capsign.KeySet.Verify].
type Check func(kid string, msg, sig []byte) error

// VerifyDigest verifies that the bundle is a statement about the artifact that
// has a SHA-256, signed by a key that check accepts. It wraps
// [capsign.SignatureInvalid] where it is about something else or says that
// another key version has signed it, [capsign.UnsupportedScheme] where it is no
// statement, or what check returns.
func (b *Bundle) VerifyDigest(digest [sha256.Size]byte, check Check) error {
	if !b.OfStatement() {
		return fmt.Errorf("bundle: verify: %w", capsign.UnsupportedScheme)
	}
	if err := check(b.KID(), pae(b.payload), b.signature); err != nil {
		return err
	}
	named := b.statement.Predicate.KID
	if !b.statement.isAbout(digest[:]) || named != "" && named != b.hint {
		return fmt.Errorf("bundle: verify: %w", capsign.SignatureInvalid)
	}
	return nil
}

// VerifyFile verifies that the bundle is the signature of a file, or a statement
// about it, by a key that check accepts. It reads r to the end; of a file whose
// bytes are signed, at most [capsign.MaxMessageSize], beyond which it wraps
// [capsign.TooLarge].
func (b *Bundle) VerifyFile(r io.Reader, check Check) error {
	if b.OfStatement() {
		hash := sha256.New()
		if _, err := io.Copy(hash, r); err != nil {
			return err
		}
		return b.VerifyDigest([sha256.Size]byte(hash.Sum(nil)), check)
	}
	msg, err := io.ReadAll(io.LimitReader(r, capsign.MaxMessageSize+1))
	if err != nil {
		return err
	}
	if len(msg) > capsign.MaxMessageSize {
		return fmt.Errorf("bundle: verify: %w", capsign.TooLarge)
	}
	if err := check(b.KID(), msg, b.signature); err != nil {
		return err
	}
	if sum := sha256.Sum256(msg); !bytes.Equal(sum[:], b.digest) {
		return fmt.Errorf("bundle: verify: %w", capsign.SignatureInvalid)
	}
	return nil
}
