package providertest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/binary"
	"math/big"
	"testing"

	"github.com/capsign/cap/capsign"
)

// signaturesAreCanonical makes many signatures, so that r and s with leading
// zeros, and with the highest bit set, come up.
func signaturesAreCanonical(t *testing.T, cfg Config) {
	provider := cfg.open(t)
	key := publicKey(t, provider, currentKID(t, provider))
	lengths := make(map[int]int)
	for i := range cfg.signatures() {
		msg := binary.BigEndian.AppendUint64(nil, uint64(i))
		sig := sign(t, provider, key.KID, msg)
		mustVerify(t, key, msg, sig)
		mustBeCanonical(t, key, sig)
		lengths[len(sig.Bytes)]++
	}
	t.Logf("signatures by length: %v", lengths)
}

// mustBeCanonical checks the one encoding that a signature has in cap, without
// the help of the code that verifies.
func mustBeCanonical(t *testing.T, key capsign.Key, sig capsign.Signature) {
	t.Helper()
	switch public := key.Public().(type) {
	case *ecdsa.PublicKey:
		mustBeLowSDER(t, public, sig.Bytes)
	case *rsa.PublicKey:
		if len(sig.Bytes) != public.Size() {
			t.Fatalf("RSA signature of %d bytes, want %d", len(sig.Bytes), public.Size())
		}
	default:
		if len(sig.Bytes) != 64 {
			t.Fatalf("Ed25519 signature of %d bytes, want 64", len(sig.Bytes))
		}
	}
}

// mustBeLowSDER says that encoding r and s again gives the same bytes, and that
// s is the lower of the two that verify.
func mustBeLowSDER(t *testing.T, public *ecdsa.PublicKey, sig []byte) {
	t.Helper()
	var rs struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(sig, &rs); err != nil || len(rest) != 0 {
		t.Fatalf("signature %x is not one DER sequence: %v", sig, err)
	}
	again, err := asn1.Marshal(rs)
	if err != nil || !bytes.Equal(sig, again) {
		t.Fatalf("signature %x is not minimal DER, want %x", sig, again)
	}
	order := public.Curve.Params().N
	if rs.S.Cmp(new(big.Int).Sub(order, rs.S)) > 0 {
		t.Fatalf("signature %x has the higher s", sig)
	}
}
