package rotation_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// brokenRoot is a root that signs something else, or does not sign.
type brokenRoot struct {
	rotation.RootSigner
	err error
}

// Sign returns the error, or the signature of another message.
func (r brokenRoot) Sign(ctx context.Context, msg []byte) ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	return r.RootSigner.Sign(ctx, append(msg, '!'))
}

// TestRootsSignOneAfterTheOther carries an envelope from one to the next.
func TestRootsSignOneAfterTheOther(t *testing.T) {
	signers := []rotation.RootSigner{rootOf(t, "a"), rootOf(t, "b"), rootOf(t, "c")}
	h := newHistory(t, signers, "k")
	k, err := rotation.Renew(h.held(), h.change())
	if err != nil {
		t.Fatal(err)
	}
	s, err := rotation.Sign(t.Context(), k, signers[2])
	if err != nil {
		t.Fatal(err)
	}
	for i, signer := range signers[:2] {
		if err := capsign.Succeeds(h.held(), s); !errors.Is(err, capsign.KeyringUntrusted) {
			t.Errorf("with %d of 3 signatures: %v", i+1, err)
		}
		data, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		carried, err := capsign.ParseSignedKeyring(data)
		if err != nil {
			t.Fatal(err)
		}
		if s, err = rotation.AddSignature(t.Context(), carried, signer); err != nil {
			t.Fatal(err)
		}
		if got, want := s.Missing(k.Roots), 1-i; got != want {
			t.Errorf("%d signatures missing, want %d", got, want)
		}
	}
	if err := capsign.Succeeds(h.held(), s); err != nil {
		t.Error(err)
	}
}

func TestSignRefuses(t *testing.T) {
	a := rootOf(t, "a")
	h := newHistory(t, []rotation.RootSigner{a}, "k")
	k := *h.held().Keyring()
	unsound := k
	unsound.Reason = ""
	for name, tc := range map[string]struct {
		k       capsign.Keyring
		signers []rotation.RootSigner
		want    capsign.Code
	}{
		"no signer":           {k, nil, capsign.BadRequest},
		"an unsound keyring":  {unsound, []rotation.RootSigner{a}, capsign.BadRequest},
		"a root that fails":   {k, []rotation.RootSigner{a, brokenRoot{a, capsign.ProviderTimeout}}, capsign.ProviderTimeout},
		"a root that is lost": {k, []rotation.RootSigner{brokenRoot{a, nil}}, capsign.Integrity},
	} {
		s, err := rotation.Sign(t.Context(), tc.k, tc.signers...)
		if capsign.CodeOf(err) != tc.want || s != nil {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	if _, err := rotation.SoftwareRoot(nil); !errors.Is(err, capsign.RootRefused) {
		t.Errorf("no key: %v", err)
	}
	if _, err := rotation.SoftwareRoot(make([]byte, 64)); !errors.Is(err, capsign.UnsupportedAlg) {
		t.Errorf("a key of small order: %v", err)
	}
}

func TestLogTellsAndVerifies(t *testing.T) {
	a, b := rootOf(t, "a"), rootOf(t, "b")
	h := newHistory(t, []rotation.RootSigner{a}, "k")
	h.pass(month)
	h.apply("2")
	h.roots = []rotation.RootSigner{a, b}
	h.take(rotation.SetRoots(h.held(), rootSet(1, b), h.change()))
	entries, err := rotation.Log(h.chain)
	if err != nil {
		t.Fatal(err)
	}
	fa, fb := a.Public().Fingerprint(), b.Public().Fingerprint()
	for i, want := range []rotation.Entry{
		{1, h.chain[0].Hash(), begin, begin.Add(rotation.DefaultExpiry), "init", "reason", []string{fa}},
		{2, h.chain[1].Hash(), h.now, h.now.Add(rotation.DefaultExpiry), "rotate", "reason", []string{fa}},
		{3, h.chain[2].Hash(), h.now, h.now.Add(rotation.DefaultExpiry), "roots", "reason", []string{fa, fb}},
	} {
		got := entries[i]
		if got.Version != want.Version || got.Hash != want.Hash || got.Issued != want.Issued || got.Expires != want.Expires ||
			got.Action != want.Action || got.Reason != want.Reason || !slices.Equal(got.Roots, want.Roots) {
			t.Errorf("entry %+v, want %+v", got, want)
		}
	}
	tail, err := rotation.Log(h.chain[1:])
	if err != nil || len(tail) != 2 {
		t.Errorf("the chain's tail: %d entries, %v", len(tail), err)
	}
	if none, err := rotation.Log(nil); err != nil || len(none) != 0 {
		t.Errorf("no chain: %v, %v", none, err)
	}
}

func TestLogRefusesWhatDoesNotVerify(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.apply("2")
	h.rollback()
	k := *h.chain[0].Keyring()
	stranger, err := rotation.Sign(t.Context(), k, rootOf(t, "stranger"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		chain []*capsign.SignedKeyring
		want  capsign.Code
	}{
		"hole":            {[]*capsign.SignedKeyring{h.chain[0], h.chain[2]}, capsign.KeyringFork},
		"the same twice":  {[]*capsign.SignedKeyring{h.chain[0], h.chain[0]}, capsign.KeyringReplayed},
		"newest first":    {[]*capsign.SignedKeyring{h.chain[1], h.chain[0]}, capsign.KeyringReplayed},
		"first by nobody": {[]*capsign.SignedKeyring{stranger, h.chain[1]}, capsign.KeyringUntrusted},
	} {
		entries, err := rotation.Log(tc.chain)
		if capsign.CodeOf(err) != tc.want || entries != nil {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
}
