package rotation

import (
	"context"
	"crypto/ed25519"

	"github.com/capsign/cap/capsign"
)

// RootSigner is a root key that can sign: from a file, or behind a pool.
type RootSigner interface {
	// Public returns the root's public half.
	Public() capsign.RootKey
	// Sign returns the root's signature of msg in its algorithm's canonical
	// encoding. It honours ctx.
	Sign(ctx context.Context, msg []byte) ([]byte, error)
}

// Sign returns the keyring with the signature of each signer, of whom there has
// to be one at least. They need not be enough for the keyring to be believed:
// others may sign what comes out by [AddSignature], and
// [capsign.SignedKeyring.Missing] says how many are to. It wraps what
// [capsign.NewSignedKeyring] and AddSignature wrap.
func Sign(ctx context.Context, k capsign.Keyring, signers ...RootSigner) (*capsign.SignedKeyring, error) {
	if len(signers) == 0 {
		return nil, refuse("no root to sign with", capsign.BadRequest)
	}
	s, err := capsign.NewSignedKeyring(k)
	if err != nil {
		return nil, err
	}
	for _, signer := range signers {
		if s, err = AddSignature(ctx, s, signer); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// AddSignature returns the keyring with the signer's signature as well, in
// place of an earlier one of the same root. Whether that root has a say is not
// asked: with [SetRoots], the ones that leave sign too. It wraps the signer's
// own error; [capsign.Integrity] where what came back is not its signature; or
// [capsign.TooLarge].
func AddSignature(ctx context.Context, s *capsign.SignedKeyring, signer RootSigner) (*capsign.SignedKeyring, error) {
	sig, err := signer.Sign(ctx, s.SigningInput())
	if err != nil {
		return nil, err
	}
	root := signer.Public()
	if root.Verify(s.SigningInput(), sig) != nil {
		return nil, refuse("signature of a root", capsign.Integrity)
	}
	return s.WithSignature(root, sig)
}

// softwareRoot is a root key in memory.
type softwareRoot struct {
	key    ed25519.PrivateKey
	public capsign.RootKey
}

// SoftwareRoot returns a root that signs in this process. It keeps key, which
// the caller may wipe when the last signature is made. A key of another length
// wraps [capsign.RootRefused].
func SoftwareRoot(key ed25519.PrivateKey) (RootSigner, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, refuse("root key", capsign.RootRefused)
	}
	spki, err := capsign.MarshalPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return softwareRoot{key, capsign.RootKey{Alg: capsign.Ed25519, SPKI: spki}}, nil
}

// Public returns the public half.
func (r softwareRoot) Public() capsign.RootKey { return r.public }

// Sign signs at once.
func (r softwareRoot) Sign(_ context.Context, msg []byte) ([]byte, error) {
	return ed25519.Sign(r.key, msg), nil
}
