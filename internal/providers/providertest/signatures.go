package providertest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
)

func signaturesVerify(t *testing.T, cfg Config) {
	provider := cfg.open(t)
	key := publicKey(t, provider, currentKID(t, provider))
	for _, length := range cfg.messageLengths() {
		msg := message(length)
		sig := sign(t, provider, key.KID, msg)
		if sig.Alg != key.Alg {
			t.Errorf("%d bytes: signed with %s, want %s", length, sig.Alg, key.Alg)
		}
		mustVerify(t, key, message(length), sig)
		if !bytes.Equal(msg, message(length)) {
			t.Errorf("%d bytes: Sign changed the message", length)
		}
	}
}

// messageLengths returns the lengths to sign: the empty message, which raw
// allows, those around the block sizes of hashes and the limits of devices,
// and the longest.
func (cfg Config) messageLengths() []int {
	var lengths []int
	for _, length := range []int{0, 1, 32, 64, 127, 128, 4095, 4096, 4097, 700 << 10, cfg.maxMessage()} {
		if cfg.MinMessage <= length && length <= cfg.maxMessage() {
			lengths = append(lengths, length)
		}
	}
	return lengths
}

func messagesOverTheLimitAreRefused(t *testing.T, cfg Config) {
	provider := cfg.open(t)
	if cfg.MinMessage > 0 {
		sig, err := provider.Sign(t.Context(), "", message(cfg.MinMessage-1))
		cfg.mustRefuse(t, "Sign of one byte too few", sig, err, capsign.BadRequest)
	}
	if cfg.MaxMessage == 0 {
		return // whatever a request can hold is signed
	}
	sig, err := provider.Sign(t.Context(), "", message(cfg.MaxMessage+1))
	cfg.mustRefuse(t, "Sign of one byte too many", sig, err, capsign.TooLarge)
}

func flippedBitsAreRefused(t *testing.T, cfg Config) {
	provider := cfg.open(t)
	key := publicKey(t, provider, currentKID(t, provider))
	msg := message(32)
	sig := sign(t, provider, key.KID, msg)
	for bit := range 8 * len(msg) {
		mustNotVerify(t, key, flip(msg, bit), sig.Bytes, fmt.Sprintf("bit %d of the message", bit))
	}
	for bit := range 8 * len(sig.Bytes) {
		mustNotVerify(t, key, msg, flip(sig.Bytes, bit), fmt.Sprintf("bit %d of the signature", bit))
	}
}

// message returns a message of the given length, the same for each length.
func message(length int) []byte {
	msg := make([]byte, length)
	for i := range msg {
		msg[i] = byte(i*7 + i>>8)
	}
	return msg
}

// flip returns data with one bit changed.
func flip(data []byte, bit int) []byte {
	flipped := bytes.Clone(data)
	flipped[bit/8] ^= 1 << (bit % 8)
	return flipped
}

// sign signs msg and must succeed.
func sign(t *testing.T, provider providers.Provider, kid string, msg []byte) capsign.Signature {
	t.Helper()
	sig, err := provider.Sign(t.Context(), kid, msg)
	if err != nil {
		t.Fatalf("Sign of %d bytes: %v", len(msg), err)
	}
	return sig
}

// mustVerify says that sig is key's signature of msg.
func mustVerify(t *testing.T, key capsign.Key, msg []byte, sig capsign.Signature) {
	t.Helper()
	if err := key.Verify(msg, sig.Bytes); err != nil {
		t.Errorf("Verify of a signature of %d bytes: %v", len(msg), err)
	}
}

// mustNotVerify says that sig, which was tampered with, is refused.
func mustNotVerify(t *testing.T, key capsign.Key, msg, sig []byte, what string) {
	t.Helper()
	if err := key.Verify(msg, sig); !errors.Is(err, capsign.SignatureInvalid) {
		t.Errorf("Verify with %s flipped = %v, want %v", what, err, capsign.SignatureInvalid)
	}
}
