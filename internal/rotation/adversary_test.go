package rotation_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// somePast returns a history of 2 to 6 versions by 1 to 3 roots, all of whom
// must sign, and the trust of whoever has pinned them.
func somePast(t *rapid.T) (*history, capsign.Trust) {
	signers := []rotation.RootSigner{rootOf(t, "a"), rootOf(t, "b"), rootOf(t, "c")}[:rapid.IntRange(1, 3).Draw(t, "roots")]
	h := newHistory(t, signers, "k")
	for range rapid.IntRange(1, 5).Draw(t, "changes") {
		h.pass(time.Hour)
		if h.key1().Stage(h.now) == 1 && rapid.Bool().Draw(t, "rotate") {
			h.apply(rapid.SampledFrom([]string{"2", "3"}).Draw(t, "to"))
		} else {
			h.take(rotation.Renew(h.held(), h.change()))
		}
	}
	return h, capsign.Trust{Roots: h.rootSet(len(signers)).Fingerprints(), Threshold: len(signers)}
}

// mustDistrust says that s is believed neither as a first keyring nor after any
// keyring of the history.
func (h *history) mustDistrust(what string, trust capsign.Trust, s *capsign.SignedKeyring) {
	h.Helper()
	if err := trust.First(s); capsign.CodeOf(err) != capsign.KeyringUntrusted {
		h.Errorf("%s: First: %v", what, err)
	}
	for _, held := range h.chain {
		want := capsign.KeyringUntrusted
		if s.Keyring().Version < held.Keyring().Version {
			want = capsign.KeyringReplayed
		}
		if err := capsign.Succeeds(held, s); capsign.CodeOf(err) != want && s.Hash() != held.Hash() {
			h.Errorf("%s: Succeeds version %d: %v, want %s", what, held.Keyring().Version, err, want)
		}
		if got, err := trust.FollowChain(held, []*capsign.SignedKeyring{s}); err == nil && got != held {
			h.Errorf("%s: followed from version %d", what, held.Keyring().Version)
		}
	}
}

// Whatever one byte of an envelope becomes, nobody believes it.
func TestAnyOtherByteIsRefused(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h, trust := somePast(rt)
		data, err := rapid.SampledFrom(h.chain).Draw(rt, "keyring").Encode()
		if err != nil {
			rt.Fatal(err)
		}
		data[rapid.IntRange(0, len(data)-1).Draw(rt, "at")] ^= rapid.ByteMin(1).Draw(rt, "flip")
		if s, err := capsign.ParseSignedKeyring(data); err == nil {
			h.mustDistrust("another byte", trust, s)
		}
	})
}

// Signatures are worth nothing over another version's payload.
func TestSignaturesOfAnotherVersionAreRefused(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h, trust := somePast(rt)
		i := rapid.IntRange(0, len(h.chain)-1).Draw(rt, "payload")
		j := rapid.IntRange(0, len(h.chain)-1).Draw(rt, "signatures")
		if i != j {
			h.mustDistrust("other signatures", trust, h.mix(h.chain[i], h.chain[j]))
		}
	})
}

// mix returns the one's payload with the other's signatures.
func (h *history) mix(payload, signatures *capsign.SignedKeyring) *capsign.SignedKeyring {
	h.Helper()
	var docs [2]map[string]json.RawMessage
	for i, s := range []*capsign.SignedKeyring{payload, signatures} {
		data, err := s.Encode()
		if err != nil {
			h.Fatalf("%v", err)
		}
		if err := json.Unmarshal(data, &docs[i]); err != nil {
			h.Fatalf("%v", err)
		}
	}
	docs[0]["signatures"] = docs[1]["signatures"]
	data, err := json.Marshal(docs[0])
	if err != nil {
		h.Fatalf("%v", err)
	}
	s, err := capsign.ParseSignedKeyring(data)
	if err != nil {
		h.Fatalf("%v", err)
	}
	return s
}

// A keyring counts when as many roots have signed it as it and the one before
// ask for, and not before; strangers' signatures make no difference.
func TestFewerRootsThanTheThresholdAreRefused(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		all := []rotation.RootSigner{rootOf(rt, "a"), rootOf(rt, "b"), rootOf(rt, "c"), rootOf(rt, "d")}
		threshold := rapid.IntRange(1, len(all)).Draw(rt, "threshold")
		h := newHistory(rt, all, "k")
		h.take(rotation.SetRoots(h.held(), h.rootSet(threshold), h.change()))
		k, err := rotation.Renew(h.held(), h.change())
		if err != nil {
			rt.Fatal(err)
		}
		signers := rapid.SliceOfNDistinct(rapid.SampledFrom(all), 0, len(all), func(s rotation.RootSigner) string {
			return s.Public().Fingerprint()
		}).Draw(rt, "signers")
		s, err := rotation.Sign(context.Background(), k, append(signers, rootOf(rt, "stranger"))...)
		if err != nil {
			rt.Fatal(err)
		}
		enough := len(signers) >= threshold
		if err := capsign.Succeeds(h.held(), s); (err == nil) != enough || !enough && capsign.CodeOf(err) != capsign.KeyringUntrusted {
			rt.Fatalf("%d of %d signed: %v", len(signers), threshold, err)
		}
		trust := capsign.Trust{Roots: h.rootSet(1).Fingerprints(), Threshold: threshold}
		if err := trust.First(s); (err == nil) != enough {
			rt.Fatalf("%d of %d signed: %v", len(signers), threshold, err)
		}
	})
}

// The roots' own signatures make no second history believed, no older keyring
// and no chain with a hole.
func TestForksReplaysAndHolesAreRefused(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h, trust := somePast(rt)
		i := rapid.IntRange(1, len(h.chain)-1).Draw(rt, "held")
		held := h.chain[i]
		c := rotation.Change{Reason: "fork", Now: held.Keyring().Issued}
		k, err := rotation.Renew(h.chain[i-1], c)
		if err != nil {
			rt.Fatal(err)
		}
		fork, err := rotation.Sign(context.Background(), k, h.roots...)
		if err != nil {
			rt.Fatal(err)
		}
		mustRefuse(rt, "fork", trust, held, []*capsign.SignedKeyring{fork}, capsign.KeyringFork)
		older := h.chain[rapid.IntRange(0, i-1).Draw(rt, "older")]
		mustRefuse(rt, "replay", trust, held, []*capsign.SignedKeyring{older}, capsign.KeyringReplayed)
		if i+1 < len(h.chain) {
			mustRefuse(rt, "continued fork", trust, fork, h.chain[i+1:], capsign.KeyringFork)
			mustRefuse(rt, "hole", trust, h.chain[i-1], h.chain[i+1:], capsign.KeyringFork)
			if _, err := capsign.EncodeChain(slices.Delete(slices.Clone(h.chain), i, i+1)); capsign.CodeOf(err) != capsign.KeyringFork {
				rt.Fatalf("hole: %v", err)
			}
		}
	})
}

// mustRefuse says that whoever holds a keyring does not follow the chain.
func mustRefuse(t *rapid.T, what string, trust capsign.Trust, held *capsign.SignedKeyring, chain []*capsign.SignedKeyring, code capsign.Code) {
	t.Helper()
	before, err := held.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := trust.FollowChain(held, chain)
	if capsign.CodeOf(err) != code || got != nil {
		t.Fatalf("%s: %v, want %s", what, err, code)
	}
	if after, err := held.Encode(); err != nil || !bytes.Equal(before, after) {
		t.Fatalf("%s: what is held changed: %v", what, err)
	}
}
