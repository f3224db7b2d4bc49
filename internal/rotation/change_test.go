package rotation_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

func TestInitSortsAndDates(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "z", "a", "m")
	k := h.held().Keyring()
	if k.Version != 1 || k.Action != capsign.ActionInit || k.Keys[0].Name != "a" || k.Keys[2].Name != "z" {
		t.Errorf("first keyring %+v", k)
	}
	if !k.Issued.Equal(begin) || !k.Expires.Equal(begin.Add(rotation.DefaultExpiry)) {
		t.Errorf("issued %v, expires %v", k.Issued, k.Expires)
	}
	h.stands(1, "1", "", "")
}

func TestInitRefuses(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	first := []capsign.KeyRotation{rotation.FirstVersion(h.key("k", "1"))}
	for name, tc := range map[string]struct {
		roots capsign.Roots
		keys  []capsign.KeyRotation
		c     rotation.Change
	}{
		"no keys":      {h.rootSet(1), nil, h.change()},
		"a key twice":  {h.rootSet(1), append(first, first...), h.change()},
		"no roots":     {capsign.Roots{}, first, h.change()},
		"no reason":    {h.rootSet(1), first, rotation.Change{Now: begin}},
		"no time":      {h.rootSet(1), first, rotation.Change{Reason: "r"}},
		"expired":      {h.rootSet(1), first, rotation.Change{Reason: "r", Now: begin, Expires: -1}},
		"year too far": {h.rootSet(1), first, rotation.Change{Reason: "r", Now: begin.AddDate(8000, 0, 0)}},
	} {
		k, err := rotation.Init(tc.roots, tc.keys, tc.c)
		h.refused(name, k, err, capsign.BadRequest)
	}
}

// Times come in any zone and with a monotonic reading, and leave as UTC.
func TestTimesAreUTC(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	zone := time.FixedZone("east", 3600)
	h.now = time.Now().In(zone)
	h.take(rotation.Apply(h.held(), "k", h.version("k", "2"), h.now.Add(time.Hour).In(zone), 0, h.change()))
	k := h.held().Keyring()
	if k.Issued != h.now.Round(0).UTC() || k.Keys[0].T1 != h.now.Round(0).UTC().Add(time.Hour) {
		t.Errorf("issued %v, t1 %v, at %v", k.Issued, k.Keys[0].T1, h.now)
	}
	if k.Keys[0].Overlap != capsign.Duration(time.Hour) {
		t.Errorf("overlap %v", k.Keys[0].Overlap)
	}
}

func TestNoChangeIsOlderThanItsPredecessor(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.take(rotation.Renew(h.held(), h.change())) // at the same nanosecond
	h.pass(-1)
	k, err := rotation.Renew(h.held(), h.change())
	h.refused("Renew", k, err, capsign.BadRequest)
}

// An expired keyring says nothing, but an operator can renew it.
func TestRenewRevivesAnExpiredKeyring(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.apply("2")
	h.pass(rotation.DefaultExpiry)
	kid := h.key1().Active()
	if _, err := h.held().Keyring().State(kid, h.now); !errors.Is(err, capsign.KeyringExpired) {
		t.Errorf("State of an expired keyring: %v", err)
	}
	before := h.held().Keyring().Keys
	h.take(rotation.Renew(h.held(), h.change()))
	if diff := cmp.Diff(before, h.held().Keyring().Keys); diff != "" {
		t.Errorf("renewing changed a key: %s", diff)
	}
	if state, err := h.held().Keyring().State(kid, h.now); err != nil || state != capsign.Active {
		t.Errorf("State of a renewed keyring: %s, %v", state, err)
	}
	h.pass(2 * rotation.DefaultExpiry)
	h.apply("3")
	h.stands(2, "3", "2", "1")
}

func TestAddNamesAFurtherKey(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.take(rotation.Add(h.held(), rotation.FirstVersion(h.key("a", "5")), h.change()))
	if keys := h.held().Keyring().Keys; len(keys) != 2 || keys[0].Name != "a" || keys[1].Name != "k" {
		t.Errorf("keys %+v", keys)
	}
	k, err := rotation.Add(h.held(), rotation.FirstVersion(h.key("k", "6")), h.change())
	h.refused("Add of a name that is taken", k, err, capsign.BadRequest)
}

func TestRootsAreReplacedByOldAndNewTogether(t *testing.T) {
	a, b := rootOf(t, "a"), rootOf(t, "b")
	h := newHistory(t, []rotation.RootSigner{a}, "k")
	k, err := rotation.SetRoots(h.held(), rootSet(1, b), h.change())
	if err != nil {
		t.Fatal(err)
	}
	for _, only := range []rotation.RootSigner{a, b} {
		s, err := rotation.Sign(t.Context(), k, only)
		if err != nil {
			t.Fatal(err)
		}
		if err := capsign.Succeeds(h.held(), s); !errors.Is(err, capsign.KeyringUntrusted) {
			t.Errorf("signed by one side: %v", err)
		}
	}
	h.roots = []rotation.RootSigner{a, b}
	h.take(k, nil)
	h.roots = []rotation.RootSigner{b}
	h.take(rotation.Renew(h.held(), h.change()))
	h.refusedRoots(t)
}

// refusedRoots asks for a threshold that the roots cannot reach.
func (h *history) refusedRoots(t *testing.T) {
	t.Helper()
	k, err := rotation.SetRoots(h.held(), rootSet(2, h.roots[0]), h.change())
	h.refused("SetRoots", k, err, capsign.BadRequest)
}

// A change leaves alone what it is made of, and every other key.
func TestChangesLeaveTheRestAlone(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k", "other")
	h.apply("2")
	h.apply("3")
	held := h.held()
	data, err := held.Encode()
	if err != nil {
		t.Fatal(err)
	}
	other := held.Keyring().Keys[1]
	for _, try := range []func() (capsign.Keyring, error){
		func() (capsign.Keyring, error) {
			return rotation.Apply(held, "k", h.version("k", "1"), time.Time{}, month, h.change())
		},
		func() (capsign.Keyring, error) { return rotation.Rollback(held, "k", time.Time{}, 0, h.change()) },
		func() (capsign.Keyring, error) {
			return rotation.Revoke(held, h.version("k", "1").KID, nil, h.change())
		},
		func() (capsign.Keyring, error) {
			to := h.version("k", "4")
			return rotation.Revoke(held, h.version("k", "3").KID, &to, h.change())
		},
		func() (capsign.Keyring, error) {
			return rotation.Add(held, rotation.FirstVersion(h.key("a", "1")), h.change())
		},
		func() (capsign.Keyring, error) { return rotation.Renew(held, h.change()) },
	} {
		k, err := try()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(other, k.Keys[len(k.Keys)-1]); diff != "" {
			t.Errorf("%s: the other key changed: %s", k.Action, diff)
		}
		again, err := capsign.NewSignedKeyring(*held.Keyring())
		if err != nil || again.Hash() != held.Hash() {
			t.Fatalf("%s: the keyring in force changed: %v", k.Action, err)
		}
	}
	if now, err := held.Encode(); err != nil || string(now) != string(data) {
		t.Errorf("the envelope changed: %v", err)
	}
}
