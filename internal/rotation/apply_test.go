package rotation_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// TestARotationEndsAtT1 is the mission's row, to the nanosecond.
func TestARotationEndsAtT1(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.apply("2")
	t1 := begin.Add(month)
	h.standsAt(t1.Add(-1), 2, "2", "1", "")
	h.standsAt(t1, 3, "2", "", "1")
	h.standsAt(t1.Add(1), 3, "2", "", "1")
}

func TestT1IsGivenOneWayAndInTheFuture(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	to := h.version("k", "2")
	for name, tc := range map[string]struct {
		t1      time.Time
		overlap time.Duration
		ok      bool
	}{
		"t1":                    {begin.Add(month), 0, true},
		"t1 a nanosecond ahead": {begin.Add(1), 0, true},
		"t1 now":                {begin, 0, false},
		"t1 a nanosecond ago":   {begin.Add(-1), 0, false},
		"overlap":               {time.Time{}, month, true},
		"overlap below nothing": {time.Time{}, -month, false},
		"neither":               {time.Time{}, 0, false},
		"both":                  {begin.Add(month), month, false},
	} {
		k, err := rotation.Apply(h.held(), "k", to, tc.t1, tc.overlap, h.change())
		if !tc.ok {
			h.refused(name, k, err, capsign.BadRequest)
		} else if err != nil || k.Keys[0].Overlap != capsign.Duration(k.Keys[0].T1.Sub(begin)) {
			t.Errorf("%s: overlap %v, %v", name, k.Keys[0].Overlap, err)
		}
	}
}

func TestApplyRefuses(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.apply("2")
	h.take(rotation.Revoke(h.held(), h.version("k", "1").KID, nil, h.change()))
	otherAlg, otherKey := h.version("k", "3"), h.version("other", "3")
	otherAlg.Alg = capsign.ES256
	for name, tc := range map[string]struct {
		key  string
		to   capsign.KeyVersion
		want capsign.Code
	}{
		"unknown key":          {"other", h.version("k", "3"), capsign.KeyUnknown},
		"the active kid":       {"k", h.version("k", "2"), capsign.BadRequest},
		"a revoked kid":        {"k", h.version("k", "1"), capsign.KeyRevoked},
		"another key's kid":    {"k", otherKey, capsign.Integrity},
		"another algorithm":    {"k", otherAlg, capsign.UnsupportedAlg},
		"no kid":               {"k", capsign.KeyVersion{}, capsign.BadRequest},
		"kid of somebody else": {"k", capsign.KeyVersion{KID: otherKey.KID, Alg: otherAlg.Alg}, capsign.BadRequest},
	} {
		k, err := rotation.Apply(h.held(), tc.key, tc.to, time.Time{}, month, h.change())
		h.refused(name, k, err, tc.want)
	}
}

// A kid does not name the algorithm: a version cannot come back with another.
func TestAVersionKeepsItsAlgorithm(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.apply("2")
	again := h.version("k", "1")
	again.Alg = capsign.ES256
	k, err := rotation.Apply(h.held(), "k", again, time.Time{}, month, h.change())
	h.refused("Apply", k, err, capsign.BadRequest)
}

// Rotating on during the overlap retires what was accepted.
func TestApplyDuringTheOverlap(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.apply("2")
	h.apply("3")
	h.stands(2, "3", "2", "1")
	h.apply("2") // the other way round
	h.stands(2, "2", "3", "1")
	h.apply("1") // a retired one, used again
	h.stands(2, "1", "2", "3")
}

// What was rolled back is not in the lineage that a new rotation continues, but
// verifiers can still say that it is retired.
func TestApplyAfterARollbackCutsTheLineage(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.apply("2")
	h.apply("3")
	h.rollback()
	h.stands(1, "2", "", "1 3")
	h.apply("4")
	h.stands(2, "4", "2", "1 3")
	h.rollback()
	h.stands(1, "2", "", "1 3 4")
	h.rollback()
	h.stands(2, "2", "1", "3 4")
	h.apply("3")
	h.stands(2, "3", "2", "1 4")
}

// TestOldVersionsAreForgotten rotates on for longer than a keyring remembers:
// those that were rolled back go first, then the oldest.
func TestOldVersionsAreForgotten(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.apply("back")
	h.rollback()
	for i := 2; i <= capsign.MaxVersions; i++ {
		if _, err := h.held().Keyring().State(h.version("k", "back").KID, h.now); err != nil {
			t.Fatalf("forgotten with %d versions: %v", i, err)
		}
		h.apply(strconv.Itoa(i))
	}
	for label, want := range map[string]capsign.Code{"back": capsign.KIDUnknown, "1": ""} {
		_, err := h.held().Keyring().State(h.version("k", label).KID, h.now)
		if want == "" && err != nil || want != "" && capsign.CodeOf(err) != want {
			t.Errorf("%s: %v, want %q", label, err, want)
		}
	}
	h.apply("one more")
	if _, err := h.held().Keyring().State(h.version("k", "1").KID, h.now); capsign.CodeOf(err) != capsign.KIDUnknown {
		t.Errorf("the oldest: %v", err)
	}
	if r := h.key1(); r.At != capsign.MaxVersions-1 || h.labels(r.Accepted(h.now)) != strconv.Itoa(capsign.MaxVersions) {
		t.Errorf("at %d, accepted %s", r.At, h.labels(r.Accepted(h.now)))
	}
}
