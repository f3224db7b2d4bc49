package azurekms

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/azure"
	"github.com/capsign/cap/internal/kmstest/fault"
)

// signWithin asks for a signature with that much time and says what came of it.
func signWithin(t *testing.T, provider *Provider, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	start := time.Now()
	sig, err := provider.Sign(ctx, "", []byte("to be signed"))
	if (sig.Bytes == nil) != (err != nil) {
		t.Errorf("Sign gave %x and %v", sig.Bytes, err)
	}
	if took := time.Since(start); took > limit+200*time.Millisecond {
		t.Errorf("Sign took %v of %v", took, limit)
	}
	return err
}

func TestPassingFaultsPassWithinAShortDeadline(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	provider := open(t, cfg)
	for _, passing := range []fault.Fault{
		{Kind: fault.Error, Code: fault.Unavailable, Times: 1},
		{Kind: fault.Error, Code: fault.Internal, Times: 2},
		{Kind: fault.Error, Code: fault.Throttled, Times: 1},
		{Kind: fault.DropConnection, Times: 1},
	} {
		vault.Faults.Set(passing)
		if err := signWithin(t, provider, 300*time.Millisecond); err != nil {
			t.Errorf("%s %s: %v", passing.Kind, passing.Code, err)
		}
	}
}

// What lasts must be told as what it is, not as the deadline that it used up.
func TestLastingFaultsAreNotTimeouts(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	provider := open(t, cfg)
	for code, want := range map[fault.Code]capsign.Code{
		fault.Unavailable: capsign.ProviderUnavailable,
		fault.Throttled:   capsign.Throttled,
		fault.Disabled:    capsign.KeyDisabled,
	} {
		vault.Faults.Set(fault.Fault{Kind: fault.Error, Code: code})
		err := signWithin(t, provider, 120*time.Millisecond)
		mustFail(t, "Sign when "+string(code), err, want)
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	provider := open(t, cfg)
	throttle := fault.Fault{Kind: fault.Error, Code: fault.Throttled, RetryAfter: time.Second, Times: 1}
	vault.Faults.Set(throttle)
	start := time.Now()
	if err := signWithin(t, provider, 5*time.Second); err != nil || time.Since(start) < time.Second {
		t.Errorf("Sign came back after %v with %v", time.Since(start), err)
	}
	vault.Faults.Set(throttle)
	before := vault.Faults.Calls("Sign")
	err := signWithin(t, provider, 300*time.Millisecond)
	mustFail(t, "Sign with less time than that", err, capsign.Throttled)
	if calls := vault.Faults.Calls("Sign") - before; calls != 1 {
		t.Errorf("%d calls, want 1", calls)
	}
	mustThrottle(t, err, time.Second)
}

func TestSignaturesOfAnotherLengthAreRefused(t *testing.T) {
	for _, alg := range []capsign.Alg{capsign.ES256, capsign.ES384, capsign.PS256} {
		vault, cfg := newKey(t, alg)
		provider := open(t, cfg)
		for name, mangle := range map[string]func([]byte) []byte{
			"one byte short": func(sig []byte) []byte { return sig[1:] },
			"one byte long":  func(sig []byte) []byte { return append(sig, 0) },
			"zero in front":  func(sig []byte) []byte { return append([]byte{0}, sig...) },
			"nothing":        func([]byte) []byte { return nil },
			"half of it":     func(sig []byte) []byte { return sig[:len(sig)/2] },
		} {
			vault.Mangle(mangle)
			sig, err := provider.Sign(t.Context(), "", []byte("to be signed"))
			mustFail(t, string(alg)+" "+name, err, capsign.Integrity)
			if sig.Bytes != nil || sig.KID != "" {
				t.Errorf("%s %s: gave a signature beside the error", alg, name)
			}
		}
		vault.Mangle(nil)
		mustSign(t, provider, "")
	}
}

// Fixed-width numbers with zeros in front are what other programs stumble on:
// sign until both halves have had one.
func TestLeadingZerosOfRAndS(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	provider := open(t, cfg)
	var short [2]bool
	vault.Mangle(func(raw []byte) []byte {
		short[0], short[1] = short[0] || raw[0] == 0, short[1] || raw[32] == 0
		return raw
	})
	made := 0
	for ; made < 20_000 && (!short[0] || !short[1]); made++ {
		mustSign(t, provider, "")
	}
	t.Logf("%d signatures", made)
	if !short[0] || !short[1] {
		t.Error("no leading zeros came up")
	}
}

func TestOnlyTheDigestIsSent(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES384)
	provider := open(t, cfg)
	var digests [][]byte
	vault.Observe(func(digest []byte) { digests = append(digests, bytes.Clone(digest)) })
	if _, err := provider.Sign(t.Context(), "", make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if len(digests) != 1 || len(digests[0]) != 48 {
		t.Errorf("the vault was sent %x", digests)
	}
}

// The SDK elicits a challenge with every first request: Open does so once, for
// everybody.
func TestOneChallengeForAll(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	cfg.CallTimeout = 10 * time.Second
	provider := open(t, cfg)
	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() {
			if _, err := provider.Sign(t.Context(), "", []byte("first")); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	if n := vault.Faults.Calls("Challenge"); n != 1 {
		t.Errorf("%d challenges, want 1", n)
	}
	if n := vault.Tokens(); n != 1 {
		t.Errorf("%d tokens, want 1", n)
	}
}

// 64 callers at once share connections, and little is added to the time that
// the vault takes. The figure is logged; the machine is not this test's own.
func TestManyInFlight(t *testing.T) {
	if testing.Short() {
		t.Skip("measures")
	}
	vault, cfg := newKey(t, capsign.ES256)
	cfg.CallTimeout = 10 * time.Second
	const serviceTime = 40 * time.Millisecond
	vault.SetServiceTime(serviceTime)
	provider := open(t, cfg)
	added := measure(t, provider, 64, 20, serviceTime)
	t.Logf("added to %v by 64 in flight: p50 %v, p95 %v, p99 %v; %d connections",
		serviceTime, added(0.50), added(0.95), added(0.99), vault.Connections())
	if n := vault.Connections(); n > 8 {
		t.Errorf("%d connections", n)
	}
}

func TestConcurrentSignersFindTheirOwnSignatures(t *testing.T) {
	vault := newVault(t, azure.Options{})
	for range 3 {
		_, err := vault.AddKey(keyName, capsign.ES256, nil)
		must(t, err)
	}
	cfg := configOf(vault)
	cfg.CallTimeout = 10 * time.Second
	provider := open(t, cfg)
	kids, err := provider.ListKIDs(t.Context())
	must(t, err)
	var callers sync.WaitGroup
	for caller := range 60 {
		callers.Go(func() {
			kid, msg := kids[caller%3], []byte{byte(caller)}
			sig, err := provider.Sign(t.Context(), kid, msg)
			if err != nil {
				t.Error(err)
				return
			}
			key, err := provider.PublicKey(t.Context(), kid)
			if err != nil || sig.KID != kid || key.Verify(msg, sig.Bytes) != nil {
				t.Errorf("signature by %s under %s", sig.KID, kid)
			}
		})
	}
	callers.Wait()
}
