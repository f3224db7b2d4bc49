package software

import (
	"crypto/ed25519"
	"crypto/fips140"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"hash"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

// sharedKey is an Ed25519 private key expanded as RFC 8032, section 5.1.5, has
// it, which signs several messages with one field inversion. That inversion, for
// the encoding of the point R, is a third of a signature. It prints as REDACTED.
type sharedKey struct {
	scalar edwards25519.Scalar
	prefix [32]byte
	public [ed25519.PublicKeySize]byte
	one    field.Element
}

// newSharedKey expands a private key. It returns nil in FIPS 140 mode, where
// only crypto/ed25519 is the validated module.
func newSharedKey(private ed25519.PrivateKey) *sharedKey {
	if fips140.Enabled() {
		return nil
	}
	k := new(sharedKey)
	digest := sha512.Sum512(private.Seed())
	defer clear(digest[:])
	_, _ = k.scalar.SetBytesWithClamping(digest[:32]) // fails by the length alone
	copy(k.prefix[:], digest[32:])
	copy(k.public[:], private[ed25519.SeedSize:])
	k.one.One()
	return k
}

// wipe overwrites the key.
func (k *sharedKey) wipe() { *k = sharedKey{} }

// commitment is what a signature is made of until R is encoded: the secret
// nonce r and the point R = rB in projective coordinates, which would betray
// something of r.
type commitment struct {
	r       edwards25519.Scalar
	x, y, z field.Element
	before  field.Element // the product of all z before this one's
}

// sign returns the signature of each message, the same as crypto/ed25519's. ok
// is false, and there are none, where the shared inversion came out wrong. What
// it does, and for how long, depends on the messages' number and lengths alone.
func (k *sharedKey) sign(msgs [][]byte) (sigs [][]byte, ok bool) {
	digest, work := sha512.New(), make([]commitment, len(msgs))
	defer clear(work)
	for i, msg := range msgs {
		k.commit(&work[i], digest, msg)
	}
	encoded := make([]byte, ed25519.SignatureSize*len(msgs))
	if !k.encode(work, encoded) {
		return nil, false
	}
	sigs = make([][]byte, len(msgs))
	for i, msg := range msgs {
		from, to := ed25519.SignatureSize*i, ed25519.SignatureSize*(i+1)
		sigs[i] = encoded[from:to:to]
		k.respond(&work[i].r, digest, msg, sigs[i])
	}
	return sigs, true
}

// commit chooses r and R for a message (RFC 8032, section 5.1.6, steps 2 and 3).
func (k *sharedKey) commit(c *commitment, digest hash.Hash, msg []byte) {
	var sum [sha512.Size]byte
	digest.Reset()
	digest.Write(k.prefix[:])
	digest.Write(msg)
	_, _ = c.r.SetUniformBytes(digest.Sum(sum[:0])) // fails by the length alone
	var R edwards25519.Point
	x, y, z, _ := R.ScalarBaseMult(&c.r).ExtendedCoordinates()
	c.x.Set(x)
	c.y.Set(y)
	c.z.Set(z)
}

// encode writes each R where its signature begins, as crypto/ed25519 does, but
// inverts the product of all z and takes the inverse apart again (Montgomery's
// trick). It reports whether each z times its inverse is one, which vouches for
// all that the trick computes.
func (k *sharedKey) encode(work []commitment, encoded []byte) bool {
	product := k.one
	for i := range work {
		work[i].before = product
		product.Multiply(&product, &work[i].z)
	}
	var rest, inverse, check, x, y field.Element
	rest.Invert(&product) // of all z up to the one at hand
	right := 1
	for i := len(work) - 1; i >= 0; i-- {
		c := &work[i]
		inverse.Multiply(&rest, &c.before)
		rest.Multiply(&rest, &c.z)
		right &= check.Multiply(&inverse, &c.z).Equal(&k.one)
		x.Multiply(&c.x, &inverse)
		y.Multiply(&c.y, &inverse)
		R := encoded[ed25519.SignatureSize*i:]
		copy(R, y.Bytes())
		R[31] |= byte(x.IsNegative() << 7) //nolint:gosec // 0 or 1
	}
	return right == 1
}

// respond writes S behind the R that sig begins with (steps 4 to 6).
func (k *sharedKey) respond(r *edwards25519.Scalar, digest hash.Hash, msg, sig []byte) {
	var sum [sha512.Size]byte
	digest.Reset()
	digest.Write(sig[:32])
	digest.Write(k.public[:])
	digest.Write(msg)
	var challenge, s edwards25519.Scalar
	_, _ = challenge.SetUniformBytes(digest.Sum(sum[:0])) // fails by the length alone
	copy(sig[32:], s.MultiplyAdd(&challenge, &k.scalar, r).Bytes())
}

// sample returns a number below n that cannot be foreseen.
func sample(n int) int {
	var random [8]byte
	rand.Read(random[:])                                          // never fails, see crypto/rand
	return int(binary.LittleEndian.Uint64(random[:]) % uint64(n)) //nolint:gosec // n is a length, and what is left is below it
}
