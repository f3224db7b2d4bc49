package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"

	"github.com/capsign/cap/capsign"
)

// Signer signs through a queue, with whichever key version is active there.
type Signer interface {
	// Current returns the key version that is expected to sign next. A rotation
	// can prove it wrong.
	Current(ctx context.Context) (capsign.Key, error)
	// Sign signs msg and says which key version it was.
	Sign(ctx context.Context, msg []byte) (capsign.Signature, error)
}

// tries is how often a statement is signed until the key version that it names
// is the one that has signed it. One rotation needs two.
const tries = 3

var (
	// byMessage lists the algorithms whose signature of a whole file cosign
	// verifies.
	byMessage = []capsign.Alg{capsign.Ed25519, capsign.ES256}
	// byStatement lists those whose statements sigstore's libraries verify with
	// no more than the public key; of RSA they know the older padding alone.
	byStatement = append(byMessage, capsign.ES384, capsign.RS256)
)

// SignFile signs a file of any size and returns its bundle and kid. Up to
// [capsign.MaxMessageSize] and with an Ed25519 or P-256 key, the signature is of
// the bytes themselves. Otherwise it is of a statement about their SHA-256, in
// which the file is called name. Errors wrap [capsign.UnsupportedAlg] where
// cosign could not verify the key's signatures, or are of r's or the signer's.
func SignFile(ctx context.Context, name string, r io.Reader, signer Signer) (data []byte, kid string, err error) {
	key, err := signer.Current(ctx)
	if err != nil {
		return nil, "", err
	}
	hash := sha256.New()
	start, err := io.ReadAll(io.TeeReader(io.LimitReader(r, capsign.MaxMessageSize+1), hash))
	if err != nil {
		return nil, "", err
	}
	if len(start) <= capsign.MaxMessageSize && slices.Contains(byMessage, key.Alg) {
		return signMessage(ctx, start, hash.Sum(nil), signer)
	}
	if _, err := io.Copy(hash, r); err != nil {
		return nil, "", err
	}
	return signStatement(ctx, name, hash.Sum(nil), key.KID, signer)
}

// SignDigest signs a statement about the artifact that has a SHA-256 and
// returns its bundle and kid.
func SignDigest(ctx context.Context, digest [sha256.Size]byte, signer Signer) (data []byte, kid string, err error) {
	key, err := signer.Current(ctx)
	if err != nil {
		return nil, "", err
	}
	return signStatement(ctx, "", digest[:], key.KID, signer)
}

// signMessage signs a file's bytes.
func signMessage(ctx context.Context, msg, digest []byte, signer Signer) ([]byte, string, error) {
	signed, err := signer.Sign(ctx, msg)
	if err != nil {
		return nil, "", err
	}
	if !slices.Contains(byMessage, signed.Alg) { // the key has been rotated meanwhile
		return nil, "", fmt.Errorf("bundle: sign: %w", capsign.UnsupportedAlg)
	}
	b := &Bundle{hint: signed.KID, digest: digest, signature: signed.Bytes}
	data, err := b.encode()
	return data, signed.KID, err
}

// signStatement signs a statement in which the key version that signs is named.
// Which one it is shows when it has signed: the first guess is kid.
func signStatement(ctx context.Context, name string, digest []byte, kid string, signer Signer) ([]byte, string, error) {
	for range tries {
		statement := newStatement(name, digest, kid)
		payload, err := statement.encode()
		if err != nil {
			return nil, "", err
		}
		signed, err := signer.Sign(ctx, pae(payload))
		if err != nil {
			return nil, "", err
		}
		if !slices.Contains(byStatement, signed.Alg) {
			return nil, "", fmt.Errorf("bundle: sign: %w", capsign.UnsupportedAlg)
		}
		if signed.KID != kid {
			kid = signed.KID
			continue
		}
		b := &Bundle{hint: kid, signature: signed.Bytes, payload: bytes.Clone(payload), statement: statement}
		data, err := b.encode()
		return data, kid, err
	}
	return nil, "", fmt.Errorf("bundle: sign: %w", capsign.RetriesExhausted)
}
