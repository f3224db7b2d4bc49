package capsign

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
)

// Signer is a [crypto.Signer] and [crypto.MessageSigner] over one key version
// of a [Client]'s key. It serves whatever in the standard library and beyond
// signs through those interfaces: x509.CreateCertificate, TLS, JWT libraries.
// It is safe for concurrent use. Each signature is one request on the express
// lane, bounded by the client's Timeout.
type Signer struct {
	client *Client
	key    Key
}

var (
	_ crypto.Signer        = (*Signer)(nil)
	_ crypto.MessageSigner = (*Signer)(nil)
)

// Signer returns a signer over the key version that the configuration asks for
// or, where it asks for none, over the one that is active now.
func (c *Client) Signer(ctx context.Context) (*Signer, error) {
	kid := c.cfg.KID
	if kid == "" {
		pool, _ := c.pools.get(c.cfg.Pool)
		kid = pool.Current[c.cfg.Key]
	}
	key, err := c.key(ctx, kid)
	if err != nil {
		return nil, fmt.Errorf("capsign: signer: %w", err)
	}
	return &Signer{client: c, key: key}, nil
}

// KID returns the key version that the signer signs with.
func (s *Signer) KID() string { return s.key.KID }

// Public returns the public key.
func (s *Signer) Public() crypto.PublicKey { return s.key.Public() }

// Sign signs message with an Ed25519 key, for which crypto.Signer takes the
// message itself (opts.HashFunc() is 0). Workers sign messages, not digests, so
// that they see what they sign: with any other key, or with a hash, it wraps
// [UnsupportedScheme], and callers use [Signer.SignMessage], as
// [crypto.SignMessage] and the standard library do by themselves.
func (s *Signer) Sign(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, ok := s.key.Public().(ed25519.PublicKey); !ok || opts.HashFunc() != 0 {
		return nil, fmt.Errorf("capsign: sign a digest: %w", UnsupportedScheme)
	}
	return s.SignMessage(rand, message, opts)
}

// SignMessage signs msg; the worker hashes it as the key's algorithm says. It
// wraps [UnsupportedAlg] where opts ask for another hash or padding. rand is not
// used.
func (s *Signer) SignMessage(_ io.Reader, msg []byte, opts crypto.SignerOpts) ([]byte, error) {
	if !s.fits(opts) {
		return nil, fmt.Errorf("capsign: sign with %s: %w", s.key.Alg, UnsupportedAlg)
	}
	// crypto.Signer has no context; the client's timeout bounds the call.
	signed, err := s.client.signOne(context.Background(), s.key.KID, msg)
	if err != nil {
		return nil, err
	}
	return signed.Bytes, nil
}

// fits reports whether opts describe the key's own algorithm.
func (s *Signer) fits(opts crypto.SignerOpts) bool {
	pss, isPSS := opts.(*rsa.PSSOptions)
	switch s.key.Alg {
	case Ed25519:
		options, ok := opts.(*ed25519.Options)
		return opts.HashFunc() == 0 && (!ok || options.Context == "")
	case ES256:
		return opts.HashFunc() == crypto.SHA256
	case ES384:
		return opts.HashFunc() == crypto.SHA384
	case PS256:
		return isPSS && opts.HashFunc() == crypto.SHA256 &&
			(pss.SaltLength == rsa.PSSSaltLengthEqualsHash || pss.SaltLength == sha256.Size)
	case RS256:
		return !isPSS && opts.HashFunc() == crypto.SHA256
	}
	return false
}
