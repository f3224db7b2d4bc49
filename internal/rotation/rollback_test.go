package rotation_test

import (
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// TestSigningReturnsStepByStep goes from k3 back to k2 in two steps and to k1
// in two more.
func TestSigningReturnsStepByStep(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.apply("2")
	h.pass(month)
	h.apply("3")
	h.pass(month)
	h.stands(3, "3", "", "1 2")

	h.rollback()
	h.stands(2, "3", "2", "1")
	h.standsAt(h.now.Add(month-1), 2, "3", "2", "1")
	h.standsAt(h.now.Add(month), 3, "3", "", "1 2")
	h.rollback()
	h.stands(1, "2", "", "1 3")
	h.standsAt(h.now.Add(2*month), 1, "2", "", "1 3")

	h.rollback()
	h.stands(2, "2", "1", "3")
	h.standsAt(h.now.Add(month), 3, "2", "", "1 3")
	h.rollback()
	h.stands(1, "1", "", "2 3")

	k, err := rotation.Rollback(h.held(), "k", time.Time{}, 0, h.change())
	h.refused("one step more", k, err, capsign.BadRequest)
	h.apply("2")
	h.stands(2, "2", "1", "3")
}

// A rollback to stage 2 would end at once without a T1 of its own.
func TestRollbackToStageTwoHasItsT1(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.apply("2")
	h.pass(month) // T1 itself
	for name, tc := range map[string]struct {
		t1      time.Time
		overlap time.Duration
		want    time.Time // zero: refused
	}{
		"as before":             {time.Time{}, 0, h.now.Add(month)},
		"overlap":               {time.Time{}, time.Hour, h.now.Add(time.Hour)},
		"overlap below nothing": {time.Time{}, -1, time.Time{}},
		"t1":                    {h.now.Add(1), 0, h.now.Add(1)},
		"t1 now":                {h.now, 0, time.Time{}},
		"t1 in the past":        {h.now.Add(-1), 0, time.Time{}},
		"both":                  {h.now.Add(1), 1, time.Time{}},
	} {
		k, err := rotation.Rollback(h.held(), "k", tc.t1, tc.overlap, h.change())
		if tc.want.IsZero() {
			h.refused(name, k, err, capsign.BadRequest)
		} else if err != nil || !k.Keys[0].T1.Equal(tc.want) || k.Keys[0].Overlap != capsign.Duration(month) {
			t.Errorf("%s: t1 %v, overlap %v, %v", name, k.Keys[0].T1, k.Keys[0].Overlap, err)
		}
	}
}

// Whoever gives a T1 means stage 2. That the key is in stage 2 still, and would
// go to stage 1, is for them to hear.
func TestRollbackToStageOneHasNoT1(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.apply("2")
	h.pass(month - 1)
	k, err := rotation.Rollback(h.held(), "k", h.now.Add(month), 0, h.change())
	h.refused("with a t1", k, err, capsign.BadRequest)
	k, err = rotation.Rollback(h.held(), "k", time.Time{}, month, h.change())
	h.refused("with an overlap", k, err, capsign.BadRequest)
	h.rollback()
	h.stands(1, "1", "", "2")
}

func TestThereIsNothingToRollBack(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	k, err := rotation.Rollback(h.held(), "k", time.Time{}, month, h.change())
	h.refused("never rotated", k, err, capsign.BadRequest)
	k, err = rotation.Rollback(h.held(), "other", time.Time{}, month, h.change())
	h.refused("unknown key", k, err, capsign.KeyUnknown)
}

// No way leads back to a version that was revoked.
func TestRollbackNeverRevives(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.apply("2")
	h.apply("3")
	h.take(rotation.Revoke(h.held(), h.version("k", "1").KID, nil, h.change()))
	h.rollback()
	k, err := rotation.Rollback(h.held(), "k", time.Time{}, 0, h.change())
	h.refused("from stage 1", k, err, capsign.KeyRevoked)

	h.apply("4")
	h.take(rotation.Revoke(h.held(), h.version("k", "2").KID, nil, h.change()))
	h.stands(3, "4", "", "1 2 3")
	k, err = rotation.Rollback(h.held(), "k", time.Time{}, 0, h.change())
	h.refused("from stage 3", k, err, capsign.KeyRevoked)
}
