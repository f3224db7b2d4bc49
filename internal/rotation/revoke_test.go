package rotation_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// revoke revokes the label's version of the first key; replacement "" is none.
func (h *history) revoke(label, replacement string) {
	h.Helper()
	k, err := h.tryRevoke(label, replacement)
	h.take(k, err)
	kid := h.version("k", label).KID
	for _, now := range []time.Time{h.now, h.now.Add(100 * month)} {
		if err := h.held().Keyring().Verify(kid, nil, nil, now); !errors.Is(err, capsign.KeyRevoked) {
			h.Errorf("a signature by %s: %v", label, err)
		}
	}
}

// tryRevoke is revoke's change.
func (h *history) tryRevoke(label, replacement string) (capsign.Keyring, error) {
	h.Helper()
	var to *capsign.KeyVersion
	if replacement != "" {
		to = new(h.version("k", replacement))
	}
	return rotation.Revoke(h.held(), h.version("k", label).KID, to, h.change())
}

func TestRevokeTheAcceptedKID(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.apply("2")
	h.pass(time.Hour)
	h.revoke("1", "")
	h.stands(3, "2", "", "1")
	if r := h.key1(); !r.T1.Equal(h.now) {
		t.Errorf("t1 %v, want %v", r.T1, h.now)
	}
}

func TestRevokeARetiredKID(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.apply("2")
	t1 := h.key1().T1
	h.pass(2 * month)
	h.revoke("1", "")
	h.stands(3, "2", "", "1")
	if !h.key1().T1.Equal(t1) {
		t.Error("t1 moved")
	}
}

// The active kid's place is taken by the rotation's other version.
func TestRevokeTheActiveKID(t *testing.T) {
	for name, passed := range map[string]time.Duration{"in stage 2": 0, "in stage 3": month} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
			h.apply("2")
			h.pass(passed)
			h.revoke("2", "")
			h.stands(1, "1", "", "2")
		})
	}
	t.Run("after a rollback", func(t *testing.T) {
		h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
		h.apply("2")
		h.rollback()
		h.revoke("1", "")
		h.stands(3, "2", "", "1")
	})
}

// A replacement takes the revoked version's place in the lineage; whatever else
// the rotation says stays true.
func TestRevokeWithAReplacement(t *testing.T) {
	for name, tc := range map[string]struct {
		before func(*history)
		label  string
		with   string
		after  func(*history)
	}{
		"never rotated": {func(*history) {}, "1", "9", func(h *history) { h.stands(1, "9", "", "1") }},
		"in stage 2": {func(h *history) { h.apply("2"); h.apply("3") }, "3", "9", func(h *history) {
			h.stands(2, "9", "2", "1 3")
			h.rollback()
			h.stands(1, "2", "", "1 3 9")
			h.rollback()
			h.stands(2, "2", "1", "3 9")
		}},
		"in stage 3": {func(h *history) { h.apply("2"); h.pass(month) }, "2", "9", func(h *history) {
			h.stands(3, "9", "", "1 2")
			h.rollback()
			h.stands(2, "9", "1", "2")
		}},
		"after a rollback": {func(h *history) { h.apply("2"); h.apply("3"); h.rollback() }, "2", "9", func(h *history) {
			h.stands(1, "9", "", "1 2 3")
			h.rollback()
			h.stands(2, "9", "1", "2 3")
		}},
		"by an older one": {func(h *history) { h.apply("2"); h.apply("3") }, "3", "1", func(h *history) {
			h.stands(2, "1", "2", "3")
		}},
		"by one that was rolled back": {func(h *history) { h.apply("2"); h.rollback(); h.apply("3") }, "3", "2", func(h *history) {
			h.stands(2, "2", "1", "3")
		}},
		"by the other, named": {func(h *history) { h.apply("2") }, "2", "1", func(h *history) {
			h.stands(1, "1", "", "2")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
			tc.before(h)
			h.revoke(tc.label, tc.with)
			tc.after(h)
		})
	}
}

func TestRevokeByFingerprint(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.apply("2")
	h.take(rotation.Revoke(h.held(), h.key("k", "1").SPKISHA256(), nil, h.change()))
	h.stands(3, "2", "", "1")
}

// Revoking many, in any order of their kids, leaves the keyrings before alone.
func TestRevokeMany(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	for i := 2; i <= 12; i++ {
		h.apply(strconv.Itoa(i))
	}
	for i := 1; i <= 11; i++ {
		h.revoke(strconv.Itoa(i), "")
	}
	for _, s := range h.chain {
		again, err := capsign.NewSignedKeyring(*s.Keyring())
		if err != nil || again.Hash() != s.Hash() {
			t.Errorf("version %d changed: %v", s.Keyring().Version, err)
		}
	}
}

// An operator who has nobody else to sign is told so.
func TestRevokeAsksForAReplacement(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	for _, label := range []string{"1", "2"} {
		_, err := h.tryRevoke(label, "")
		if want := "rotation: replacement is missing: bad_request"; err == nil || err.Error() != want {
			t.Errorf("revoke %s: %v, want %s", label, err, want)
		}
		if label == "1" {
			h.apply("2")
			h.revoke("1", "")
		}
	}
}

func TestRevokeRefuses(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	refused := func(what, label, replacement string, code capsign.Code) {
		t.Helper()
		k, err := h.tryRevoke(label, replacement)
		h.refused(what, k, err, code)
	}
	refused("unknown kid", "9", "", capsign.KIDUnknown)
	refused("nobody else to sign", "1", "", capsign.BadRequest)
	refused("replaced by itself", "1", "1", capsign.KeyRevoked)
	h.apply("2")
	refused("replacement of a kid that is accepted", "1", "3", capsign.BadRequest)
	h.revoke("1", "")
	refused("once more", "1", "", capsign.KeyRevoked)
	refused("the other is revoked", "2", "", capsign.BadRequest)
	refused("replaced by a revoked kid", "2", "1", capsign.KeyRevoked)
	h.revoke("2", "3")
	h.stands(3, "3", "", "1 2")

	stranger := h.version("other", "4")
	k, err := rotation.Revoke(h.held(), h.version("k", "3").KID, &stranger, h.change())
	h.refused("replaced by another key's version", k, err, capsign.Integrity)
}
