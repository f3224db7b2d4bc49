package rotation

import (
	"time"

	"github.com/capsign/cap/capsign"
)

// Rollback takes the key name one stage back.
//
//   - Stage 3 to 2: the old version verifies again, until T1: t1, or overlap
//     from now, or with neither the rotation's overlap from now.
//   - Stage 2 to 1: the old version signs again, the new one is retired. There
//     is no T1 in stage 1: giving one is refused, since whoever does means
//     another stage.
//   - Stage 1, where an older rotation led to the version that signs: that
//     rotation's stage 2, with a T1 as above. Of versions k1, k2 and k3 two
//     steps lead from k3 back to k2, and two more to k1.
//
// It wraps [capsign.KeyUnknown]; [capsign.KeyRevoked] where the version that
// would come back was revoked; and [capsign.BadRequest] where there is nothing
// to roll back or T1 is not after now.
func Rollback(held *capsign.SignedKeyring, name string, t1 time.Time, overlap time.Duration, c Change) (capsign.Keyring, error) {
	return c.toKey(held, name, capsign.ActionRollback, func(r *capsign.KeyRotation) error {
		if r.Stage(c.Now) == 2 {
			return giveUp(r, t1, overlap)
		}
		if r.Back { // stage 1: the rotation before this one is the one to reopen
			r.At, r.Back = r.At-1, false
		}
		if r.At == 0 {
			return refuse("nothing to roll back", capsign.BadRequest)
		}
		return reopen(r, c.Now, t1, overlap)
	})
}

// giveUp takes a rotation from stage 2 to 1.
func giveUp(r *capsign.KeyRotation, t1 time.Time, overlap time.Duration) error {
	if !t1.IsZero() || overlap != 0 {
		return refuse("stage 1 has no t1 and no overlap", capsign.BadRequest)
	}
	r.Back, r.T1 = true, time.Time{}
	return nil
}

// reopen takes a rotation from stage 3 to 2.
func reopen(r *capsign.KeyRotation, now, t1 time.Time, overlap time.Duration) error {
	if err := usable(*r, r.Versions[r.At-1]); err != nil {
		return err
	}
	if t1.IsZero() && overlap == 0 {
		overlap = time.Duration(r.Overlap)
	}
	end, err := deadline(now, t1, overlap)
	if err != nil {
		return err
	}
	r.T1 = end
	return nil
}
