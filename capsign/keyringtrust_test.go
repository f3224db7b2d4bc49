package capsign_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

// rewrite returns the envelope as edit leaves its signatures, each with the
// members keyid and sig.
func rewrite(t testing.TB, s *capsign.SignedKeyring, edit func([]map[string]string) []map[string]string) *capsign.SignedKeyring {
	t.Helper()
	var doc struct {
		Payload     string              `json:"payload"`
		PayloadType string              `json:"payloadType"`
		Signatures  []map[string]string `json:"signatures"`
	}
	if err := json.Unmarshal(mustEncode(t, s), &doc); err != nil {
		t.Fatal(err)
	}
	doc.Signatures = edit(doc.Signatures)
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	again, err := capsign.ParseSignedKeyring(data)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// TestSignaturesCountOncePerRoot holds what an envelope's signatures are worth:
// whoever carries it can add some, but neither make nor break a threshold.
func TestSignaturesCountOncePerRoot(t *testing.T) {
	a, b, stranger := edRoot(t, "a"), edRoot(t, "b"), edRoot(t, "stranger")
	roots := rootsOf(2, a, b)
	half := signedBy(t, ring(roots, rotation(t, "1")), a)
	whole := signedBy(t, *half.Keyring(), a, b, stranger)
	for name, tc := range map[string]struct {
		s    *capsign.SignedKeyring
		want int
	}{
		"one of two":      {half, 1},
		"both, with more": {whole, 2},
		"one root twice": {rewrite(t, half, func(sigs []map[string]string) []map[string]string {
			return append(sigs, sigs[0])
		}), 1},
		"one root's signature under the other's name": {rewrite(t, half, func(sigs []map[string]string) []map[string]string {
			return append(sigs, map[string]string{"keyid": b.Fingerprint(), "sig": sigs[0]["sig"]})
		}), 1},
		"root under a name in capitals": {rewrite(t, half, func(sigs []map[string]string) []map[string]string {
			sigs[0]["keyid"] = strings.ToUpper(sigs[0]["keyid"])
			return sigs
		}), 0},
		"root without a name": {rewrite(t, half, func(sigs []map[string]string) []map[string]string {
			sigs[0]["keyid"] = ""
			return sigs
		}), 0},
		"garbage before and after": {rewrite(t, whole, func(sigs []map[string]string) []map[string]string {
			garbage := map[string]string{"keyid": a.Fingerprint(), "sig": "Z2FyYmFnZQ=="}
			return append(append([]map[string]string{garbage}, sigs...), garbage)
		}), 2},
		"two strangers": {signedBy(t, *half.Keyring(), a, stranger, edRoot(t, "other")), 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := len(tc.s.SignedBy(roots)); got != tc.want {
				t.Errorf("signed by %d roots, want %d", got, tc.want)
			}
			want := capsign.KeyringUntrusted
			if tc.want == 2 {
				want = ""
			}
			wantCode(t, "First", capsign.Trust{Roots: roots.Fingerprints()}.First(tc.s), want)
		})
	}
}

func TestFirstKeyringNeedsItsPins(t *testing.T) {
	a, b, c := edRoot(t, "a"), edRoot(t, "b"), edRoot(t, "c")
	k := ring(rootsOf(2, a, b, c), rotation(t, "1"))
	ab, abc, only := signedBy(t, k, a, b), signedBy(t, k, a, b, c), signedBy(t, k, a)
	own := signedBy(t, ring(rootsOf(1, b), rotation(t, "1")), a, b) // a is no root of it
	for name, tc := range map[string]struct {
		s         *capsign.SignedKeyring
		threshold int
		pins      []root
		want      capsign.Code
	}{
		"one pin":                         {ab, 0, []root{a}, ""},
		"one pin of several":              {ab, 1, []root{c, b}, ""},
		"two pins":                        {ab, 2, []root{a, b}, ""},
		"a pin counts once":               {ab, 2, []root{a, a}, capsign.KeyringUntrusted},
		"pin that did not sign":           {ab, 0, []root{c}, capsign.KeyringUntrusted},
		"one of two pins":                 {ab, 2, []root{a, c}, capsign.KeyringUntrusted},
		"all pins":                        {abc, 3, []root{a, b, c}, ""},
		"nothing pinned":                  {abc, 0, nil, capsign.KeyringUntrusted},
		"below its own threshold":         {only, 1, []root{a}, capsign.KeyringUntrusted},
		"pin signed, but is none of them": {own, 1, []root{a}, capsign.KeyringUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			trust := capsign.Trust{Threshold: tc.threshold}
			for _, pin := range tc.pins {
				trust.Roots = append(trust.Roots, pin.Fingerprint())
			}
			wantCode(t, "First", trust.First(tc.s), tc.want)
		})
	}
}

// TestSuccessors holds each answer about what may come after a keyring.
func TestSuccessors(t *testing.T) {
	a, b, stranger := edRoot(t, "a"), ecRoot(t), edRoot(t, "stranger")
	chain := chainOf(t, 4, a)
	held := chain[1]
	with := func(base *capsign.SignedKeyring, edit func(*capsign.Keyring), roots ...root) *capsign.SignedKeyring {
		k := next(base)
		edit(&k)
		return signedBy(t, k, roots...)
	}
	same := func(*capsign.Keyring) {}
	moved := func(k *capsign.Keyring) { k.Action, k.Roots = capsign.ActionRoots, rootsOf(1, b) }
	for name, tc := range map[string]struct {
		next *capsign.SignedKeyring
		want capsign.Code
	}{
		"the next":                        {chain[2], ""},
		"another next":                    {with(held, func(k *capsign.Keyring) { k.Reason = "other" }, a), ""},
		"issued at the same time":         {with(held, func(k *capsign.Keyring) { k.Issued = held.Keyring().Issued }, a), ""},
		"issued a nanosecond before":      {with(held, func(k *capsign.Keyring) { k.Issued = held.Keyring().Issued.Add(-1) }, a), capsign.KeyringFork},
		"itself":                          {held, capsign.KeyringReplayed},
		"the one before":                  {chain[0], capsign.KeyringReplayed},
		"one before, with another text":   {signedBy(t, ring(rootsOf(1, a), rotation(t, "3")), a), capsign.KeyringReplayed},
		"same version, other content":     {with(chain[0], func(k *capsign.Keyring) { k.Reason = "other" }, a), capsign.KeyringFork},
		"same version, by a stranger":     {with(chain[0], func(k *capsign.Keyring) { k.Reason = "other" }, stranger), capsign.KeyringUntrusted},
		"a version left out":              {chain[3], capsign.KeyringFork},
		"a version left out, right hash":  {with(held, func(k *capsign.Keyring) { k.Version++ }, a), capsign.KeyringFork},
		"another predecessor":             {with(held, func(k *capsign.Keyring) { k.Previous = someKID }, a), capsign.KeyringFork},
		"by nobody that counts":           {with(held, same, stranger), capsign.KeyringUntrusted},
		"new roots, signed by both":       {with(held, moved, a, b), ""},
		"new roots, signed by the old":    {with(held, moved, a), capsign.KeyringUntrusted},
		"new roots, signed by themselves": {with(held, moved, b), capsign.KeyringUntrusted},
		"a higher threshold, not reached": {with(held, func(k *capsign.Keyring) { k.Roots = rootsOf(2, a, b) }, a), capsign.KeyringUntrusted},
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, "Succeeds", capsign.Succeeds(held, tc.next), tc.want) })
	}
}

// An old signature does not fit another payload, of whatever version.
func TestSignaturesAreNotCarriedOver(t *testing.T) {
	a := edRoot(t, "a")
	chain := chainOf(t, 3, a)
	old := rewriteSource(t, chain[1])
	forged := rewrite(t, chain[2], func([]map[string]string) []map[string]string { return old })
	wantCode(t, "Succeeds", capsign.Succeeds(chain[1], forged), capsign.KeyringUntrusted)
	wantCode(t, "First", capsign.Trust{Roots: []string{a.Fingerprint()}}.First(forged), capsign.KeyringUntrusted)
}

// rewriteSource returns an envelope's signatures.
func rewriteSource(t testing.TB, s *capsign.SignedKeyring) (sigs []map[string]string) {
	t.Helper()
	rewrite(t, s, func(all []map[string]string) []map[string]string { sigs = all; return all })
	return sigs
}

func TestFollowChain(t *testing.T) {
	a, b, stranger := edRoot(t, "a"), ecRoot(t), edRoot(t, "stranger")
	chain := chainOf(t, 3, a)
	k := next(chain[2])
	k.Action, k.Roots = capsign.ActionRoots, rootsOf(1, b)
	moved := signedBy(t, k, a, b)
	last := signedBy(t, next(moved), b)
	chain = append(chain, moved, last)
	fork := next(chain[1])
	fork.Reason = "other"
	forged := signedBy(t, next(chain[1]), stranger)
	without := func(i int) []*capsign.SignedKeyring { return slices.Delete(slices.Clone(chain), i, i+1) }
	for name, tc := range map[string]struct {
		held  *capsign.SignedKeyring
		pins  []root
		chain []*capsign.SignedKeyring
		want  *capsign.SignedKeyring
		code  capsign.Code
	}{
		"by the first roots":              {nil, []root{a}, chain, last, ""},
		"by the last roots":               {nil, []root{b}, chain, last, ""},
		"by the last roots, last alone":   {nil, []root{b}, chain[4:], last, ""},
		"by the first roots, tail":        {nil, []root{a}, chain[2:], last, ""},
		"by roots that are gone":          {nil, []root{a}, chain[4:], nil, capsign.KeyringUntrusted},
		"by nobody":                       {nil, nil, chain, nil, capsign.KeyringUntrusted},
		"by a stranger":                   {nil, []root{stranger}, chain, nil, capsign.KeyringUntrusted},
		"empty":                           {nil, []root{a}, nil, nil, capsign.KeyringMissing},
		"empty, with one held":            {chain[0], []root{a}, nil, nil, capsign.KeyringMissing},
		"from the first":                  {chain[0], nil, chain, last, ""},
		"from the middle":                 {chain[1], nil, chain, last, ""},
		"from the middle, what is new":    {chain[1], nil, chain[2:], last, ""},
		"from the last":                   {last, nil, chain, last, ""},
		"from the last, itself":           {last, nil, chain[4:], last, ""},
		"older than what is held":         {last, []root{a}, chain[:4], nil, capsign.KeyringReplayed},
		"hole behind what is held":        {chain[0], nil, chain[2:], nil, capsign.KeyringFork},
		"hole in the chain":               {chain[0], nil, without(2), nil, capsign.KeyringFork},
		"hole, from the pins":             {nil, []root{a}, without(3)[:4], nil, capsign.KeyringUntrusted},
		"fork of what is held":            {chain[2], nil, []*capsign.SignedKeyring{signedBy(t, fork, a)}, nil, capsign.KeyringFork},
		"stranger's version":              {chain[1], nil, []*capsign.SignedKeyring{chain[1], forged}, nil, capsign.KeyringUntrusted},
		"stranger's version, from a pin":  {nil, []root{a}, []*capsign.SignedKeyring{chain[1], forged}, nil, capsign.KeyringUntrusted},
		"stranger's version in the past":  {nil, []root{b}, []*capsign.SignedKeyring{forged, moved, last}, last, ""},
		"pins say nothing once one holds": {chain[0], []root{stranger}, chain, last, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var trust capsign.Trust
			for _, pin := range tc.pins {
				trust.Roots = append(trust.Roots, pin.Fingerprint())
			}
			got, err := trust.FollowChain(tc.held, tc.chain)
			wantCode(t, "FollowChain", err, tc.code)
			if got != tc.want {
				t.Errorf("another keyring than the newest that is trusted")
			}
		})
	}
}

// An expired keyring still has successors: it must be possible to renew it.
func TestExpiredKeyringsAreFollowed(t *testing.T) {
	a := edRoot(t, "a")
	chain := chainOf(t, 1, a)
	k := next(chain[0])
	k.Issued, k.Expires = expires.Add(time.Hour), expires.Add(2*time.Hour)
	if err := capsign.Succeeds(chain[0], signedBy(t, k, a)); err != nil {
		t.Error(err)
	}
}
