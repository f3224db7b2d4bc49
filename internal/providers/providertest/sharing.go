package providertest

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
)

// manySignAtOnce is worth most under the race detector.
func manySignAtOnce(t *testing.T, cfg Config) {
	provider := cfg.open(t)
	key := publicKey(t, provider, currentKID(t, provider))
	var callers sync.WaitGroup
	for caller := range cfg.callers() {
		callers.Go(func() {
			for n := range 4 {
				msg := binary.BigEndian.AppendUint32([]byte{byte(n)}, uint32(caller))
				if err := signAndVerify(t.Context(), provider, key, msg); err != nil {
					t.Errorf("caller %d: %v", caller, err)
				}
			}
		})
	}
	callers.Wait()
}

// signAndVerify uses every method a worker's goroutines use at once.
func signAndVerify(ctx context.Context, provider providers.Provider, key capsign.Key, msg []byte) error {
	sig, err := provider.Sign(ctx, "", msg)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	again, err := provider.PublicKey(ctx, sig.KID)
	if err != nil {
		return fmt.Errorf("public key: %w", err)
	}
	kids, err := provider.ListKIDs(ctx)
	if err != nil || again.KID != key.KID || !slices.Contains(kids, key.KID) {
		return fmt.Errorf("kid %s, want %s among %v: %w", again.KID, key.KID, kids, err)
	}
	return again.Verify(msg, sig.Bytes)
}

// nothingIsShared spoils whatever a provider returned and asks again.
func nothingIsShared(t *testing.T, cfg Config) {
	provider := cfg.open(t)
	kid := currentKID(t, provider)
	msg := []byte("mine")

	kids := listKIDs(t, provider)
	clear(kids)
	if again := listKIDs(t, provider); !slices.Contains(again, kid) {
		t.Errorf("clearing a list of kids left %v", again)
	}

	clear(publicKey(t, provider, kid).SPKI)
	key := publicKey(t, provider, kid)
	if recomputed, err := capsign.KID(key.SPKI, key.Provider, key.Name); err != nil || recomputed != kid {
		t.Errorf("clearing an SPKI made the key compute to %q, %v", recomputed, err)
	}

	first := sign(t, provider, kid, msg)
	kept := slices.Clone(first.Bytes)
	second := sign(t, provider, kid, msg)
	clear(second.Bytes)
	if !slices.Equal(first.Bytes, kept) {
		t.Error("clearing a signature cleared another")
	}

	clear(msg)
	mustVerify(t, key, []byte("mine"), first)
	mustVerify(t, key, []byte("mine"), sign(t, provider, kid, []byte("mine")))
}

// closingOneLeavesTheOthers matters where a library below the provider is
// global to the process.
func closingOneLeavesTheOthers(t *testing.T, cfg Config) {
	stays := cfg.open(t)
	leaves, err := cfg.Open(t.Context())
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	sign(t, leaves, "", message(32))
	if err := leaves.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	key := publicKey(t, stays, currentKID(t, stays))
	mustVerify(t, key, message(32), sign(t, stays, "", message(32)))
	mustVerify(t, key, message(32), sign(t, cfg.open(t), key.KID, message(32)))
}
