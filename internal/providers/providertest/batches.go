package providertest

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

// batchSigner is implemented by providers that sign several messages cheaper
// together. What it promises stands at queue.BatchSigner.
type batchSigner interface {
	SignBatch(ctx context.Context, kid string, msgs [][]byte) ([]capsign.Signature, error)
}

// batchesAreWhatSignMakes holds SignBatch, where a provider has it, to what Sign
// promises for each message.
func batchesAreWhatSignMakes(t *testing.T, cfg Config) {
	provider := cfg.open(t)
	batches, ok := provider.(batchSigner)
	if !ok {
		t.Skip("this provider signs one by one")
	}
	kids := listKIDs(t, provider)
	for _, n := range []int{0, 1, 7, 8, 64, 65, 200} {
		msgs := make([][]byte, n)
		for i := range msgs {
			msgs[i] = message(cfg.MinMessage + i)
		}
		for _, kid := range []string{"", kids[0]} {
			sigs, err := batches.SignBatch(t.Context(), kid, msgs)
			if err != nil || len(sigs) != n {
				t.Fatalf("SignBatch of %d = %d signatures, %v", n, len(sigs), err)
			}
			if kid == "" {
				kid = currentKID(t, provider)
			}
			cfg.mustBeSignaturesOf(t, publicKey(t, provider, kid), msgs, sigs)
		}
	}
}

// mustBeSignaturesOf says that each message has its signature by key, none of
// which shares memory with the next.
func (cfg Config) mustBeSignaturesOf(t *testing.T, key capsign.Key, msgs [][]byte, sigs []capsign.Signature) {
	t.Helper()
	for i, sig := range sigs {
		if sig.KID != key.KID || sig.Alg != cfg.Alg {
			t.Fatalf("message %d is signed by %s with %s, want %s, %s", i, sig.KID, sig.Alg, key.KID, cfg.Alg)
		}
		if !bytes.Equal(msgs[i], message(len(msgs[i]))) {
			t.Fatalf("message %d was changed", i)
		}
		mustVerify(t, key, msgs[i], sig)
		clear(sig.Bytes[:cap(sig.Bytes)])
	}
}

// refusedBatchesSignNothing asks for what Sign refuses.
func refusedBatchesSignNothing(t *testing.T, cfg Config) {
	provider := cfg.open(t)
	batches, ok := provider.(batchSigner)
	if !ok {
		t.Skip("this provider signs one by one")
	}
	msgs := [][]byte{message(32), message(33), message(34)}
	expired, stop := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer stop()
	unknown := strings.Repeat("0", 64)
	sigs, err := batches.SignBatch(t.Context(), unknown, msgs)
	mustBeNone(t, sigs)
	cfg.mustFail(t, "SignBatch with an unknown kid", err, capsign.KIDUnknown)
	sigs, err = batches.SignBatch(expired, "", msgs)
	mustBeNone(t, sigs)
	cfg.mustFail(t, "SignBatch with no time left", err, capsign.ProviderTimeout)
}

// mustBeNone says that nothing was signed.
func mustBeNone(t *testing.T, sigs []capsign.Signature) {
	t.Helper()
	if sigs != nil {
		t.Errorf("%d signatures beside an error", len(sigs))
	}
}
