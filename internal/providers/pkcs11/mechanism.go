package pkcs11

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/ecdsasig"
)

// Numbers of PKCS#11 v3.1, some of which the wrapper's headers are too old for.
const (
	ckkRSA       = 0x0
	ckkEC        = 0x3
	ckkECEdwards = 0x40

	ckmRSAKeyPairGen       = 0x0
	ckmRSAPKCS             = 0x1
	ckmRSAPSS              = 0xD
	ckmSHA256              = 0x250
	ckmECKeyPairGen        = 0x1040
	ckmECDSA               = 0x1041
	ckmECEdwardsKeyPairGen = 0x1055
	ckmEdDSA               = 0x1057
	ckgMGF1SHA256          = 0x2
)

// operation is what goes to C_SignInit and C_Sign.
type operation struct {
	mechanism uint
	parameter []byte // nil for mechanisms without one
	data      []byte
}

// sha256Prefix is the DER DigestInfo of a SHA-256 digest up to the digest
// itself (RFC 8017, section 9.2, note 1).
var sha256Prefix = []byte{
	0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20,
}

// pssParameter is the CK_RSA_PKCS_PSS_PARAMS of SHA-256 with a salt as long.
var pssParameter = slices.Concat(ulong(ckmSHA256), ulong(ckgMGF1SHA256), ulong(sha256.Size))

// signing returns what a token has to do to sign msg with alg. Digests are made
// here: not every token hashes, and none truncates a digest of another length
// with a word. It retains nothing of msg.
func signing(alg capsign.Alg, msg []byte) (operation, error) {
	switch alg {
	case capsign.Ed25519:
		return operation{mechanism: ckmEdDSA, data: bytes.Clone(msg)}, nil
	case capsign.ES256:
		digest := sha256.Sum256(msg)
		return operation{mechanism: ckmECDSA, data: digest[:]}, nil
	case capsign.ES384:
		digest := sha512.Sum384(msg)
		return operation{mechanism: ckmECDSA, data: digest[:]}, nil
	case capsign.PS256:
		digest := sha256.Sum256(msg)
		return operation{mechanism: ckmRSAPSS, parameter: pssParameter, data: digest[:]}, nil
	case capsign.RS256:
		digest := sha256.Sum256(msg)
		return operation{mechanism: ckmRSAPKCS, data: slices.Concat(sha256Prefix, digest[:])}, nil
	}
	return operation{}, fmt.Errorf("algorithm: %w", capsign.UnsupportedAlg)
}

// canonical returns the one encoding of a signature as a token makes it. What
// cannot be one of key's wraps [capsign.Integrity].
func canonical(key capsign.Key, raw []byte) ([]byte, error) {
	width := 64
	switch key.Alg {
	case capsign.ES256:
		return ecdsasig.FromRaw(elliptic.P256(), raw)
	case capsign.ES384:
		return ecdsasig.FromRaw(elliptic.P384(), raw)
	case capsign.PS256, capsign.RS256:
		width = key.Public().(*rsa.PublicKey).Size()
	}
	if len(raw) != width {
		return nil, fmt.Errorf("signature of another width: %w", capsign.Integrity)
	}
	return raw, nil
}

// ulong returns n as a CK_ULONG, which is as long as a machine's word.
func ulong(n uint) []byte {
	if bits.UintSize == 32 {
		return binary.NativeEndian.AppendUint32(nil, uint32(n)) //nolint:gosec // a word has 32 bits here
	}
	return binary.NativeEndian.AppendUint64(nil, uint64(n))
}

// parseUlong returns the number in a CK_ULONG.
func parseUlong(value []byte) (uint, bool) {
	switch {
	case bits.UintSize == 32 && len(value) == 4:
		return uint(binary.NativeEndian.Uint32(value)), true
	case bits.UintSize == 64 && len(value) == 8:
		return uint(binary.NativeEndian.Uint64(value)), true
	}
	return 0, false
}
