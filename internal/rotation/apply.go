package rotation

import (
	"slices"
	"time"

	"github.com/capsign/cap/capsign"
)

// Apply begins a rotation of the key name: from now on the version to signs,
// and the one that signed until now still verifies until T1, which is t1 or,
// where that is zero, overlap from now; exactly one of the two is to be given.
// What was accepted before is retired, and so is a version that was rolled
// back: the new one continues the lineage from the version that was active. A
// retired version may be used again.
//
// It wraps [capsign.KeyUnknown]; [capsign.KeyRevoked] where to was revoked;
// [capsign.BadRequest] where T1 is not after now or to is active already; and
// what [capsign.Keyring.Check] wraps.
func Apply(held *capsign.SignedKeyring, name string, to capsign.KeyVersion, t1 time.Time, overlap time.Duration, c Change) (capsign.Keyring, error) {
	return c.toKey(held, name, capsign.ActionRotate, func(r *capsign.KeyRotation) error {
		if err := usable(*r, to); err != nil {
			return err
		}
		if to.KID == r.Active() {
			return refuse("kid is active already", capsign.BadRequest)
		}
		end, err := deadline(c.Now, t1, overlap)
		if err != nil {
			return err
		}
		extend(r, to)
		r.T1, r.Overlap = end, capsign.Duration(end.Sub(c.Now))
		return nil
	})
}

// usable refuses a version that was revoked, or that the key knows with another
// algorithm, which the kid alone would not tell.
func usable(r capsign.KeyRotation, to capsign.KeyVersion) error {
	if slices.Contains(r.Revoked, to.KID) {
		return refuse("kid", capsign.KeyRevoked)
	}
	i := indexOf(r.Versions, to.KID)
	if i >= 0 && r.Versions[i].Alg != to.Alg {
		return refuse("kid with another algorithm", capsign.BadRequest)
	}
	return nil
}

// deadline returns the T1 that an operator asks for: at t1, or overlap from
// now. It is refused where it is not after now.
func deadline(now, t1 time.Time, overlap time.Duration) (time.Time, error) {
	switch {
	case t1.IsZero() == (overlap == 0):
		return time.Time{}, refuse("either t1 or an overlap", capsign.BadRequest)
	case t1.IsZero():
		t1 = now.Add(overlap)
	}
	if !t1.After(now) {
		return time.Time{}, refuse("t1 is not in the future", capsign.BadRequest)
	}
	return instant(t1), nil
}

// extend makes the rotation one from the active version to to.
func extend(r *capsign.KeyRotation, to capsign.KeyVersion) {
	cut := indexOf(r.Versions, r.Active()) + 1
	lineage := without(r.Versions[:cut], to.KID)
	setLineage(r, append(lineage, to), without(r.Versions[cut:], to.KID))
	r.Back = false
}

// setLineage has the rotation under way end at the last of lineage. The others
// are known as retired; where there are too many versions, the last of those is
// forgotten first, then the oldest of the lineage.
func setLineage(r *capsign.KeyRotation, lineage, others []capsign.KeyVersion) {
	lineage = lineage[max(0, len(lineage)-capsign.MaxVersions):]
	others = others[:min(len(others), capsign.MaxVersions-len(lineage))]
	r.Versions, r.At = slices.Concat(lineage, others), len(lineage)-1
}

// indexOf returns where in versions kid is, or -1.
func indexOf(versions []capsign.KeyVersion, kid string) int {
	return slices.IndexFunc(versions, func(v capsign.KeyVersion) bool { return v.KID == kid })
}

// without returns versions less the one with that kid, in memory of its own.
func without(versions []capsign.KeyVersion, kid string) []capsign.KeyVersion {
	return slices.DeleteFunc(slices.Clone(versions), func(v capsign.KeyVersion) bool { return v.KID == kid })
}
