package rotation

import (
	"slices"
	"time"

	"github.com/capsign/cap/capsign"
)

// Revoke has a kid never sign or verify again, at once and for good: after a
// compromise. id is the kid, an SPKI SHA-256 or a thumbprint, of any version
// that the keyring knows.
//
// Where the kid is the active one, replacement signs from now on in its place;
// with none, the other version of the rotation under way does: in stages 2 and
// 3 the one before, after a rollback the one that was rolled back. A version
// that is accepted meanwhile stays so until its T1. Where the kid is not
// active, a replacement is refused.
//
// It wraps [capsign.KIDUnknown] or [capsign.Ambiguous]; [capsign.KeyRevoked]
// where the kid or its replacement was revoked before; [capsign.BadRequest]
// where a replacement is missing or superfluous; and what
// [capsign.Keyring.Check] wraps.
func Revoke(held *capsign.SignedKeyring, id string, replacement *capsign.KeyVersion, c Change) (capsign.Keyring, error) {
	key, err := held.Keyring().Key(id)
	if err != nil {
		return capsign.Keyring{}, err
	}
	return c.toKey(held, key.Name, capsign.ActionRevoke, func(r *capsign.KeyRotation) error {
		return revoke(r, key.KID, replacement, instant(c.Now))
	})
}

// revoke marks kid as revoked and puts another in its place where it signs.
func revoke(r *capsign.KeyRotation, kid string, replacement *capsign.KeyVersion, now time.Time) error {
	at, found := slices.BinarySearch(r.Revoked, kid)
	if found {
		return refuse("kid", capsign.KeyRevoked)
	}
	state := r.State(kid, now)
	r.Revoked = slices.Insert(slices.Clone(r.Revoked), at, kid)
	switch {
	case state == capsign.Active:
		return replace(r, kid, replacement, now)
	case replacement != nil:
		return refuse("replacement of a kid that does not sign", capsign.BadRequest)
	case state == capsign.Accepted:
		r.T1 = now // nothing is left to wait for
	}
	return nil
}

// replace has another version sign instead of the active one.
func replace(r *capsign.KeyRotation, active string, replacement *capsign.KeyVersion, now time.Time) error {
	other := counterpart(*r)
	if replacement == nil {
		if other == "" || slices.Contains(r.Revoked, other) {
			return refuse("replacement is missing", capsign.BadRequest)
		}
		swap(r, now)
		return nil
	}
	if err := usable(*r, *replacement); err != nil {
		return err
	}
	if replacement.KID == other {
		swap(r, now)
		return nil
	}
	substitute(r, active, *replacement)
	return nil
}

// counterpart returns the kid of the rotation under way that does not sign, ""
// where there is no rotation.
func counterpart(r capsign.KeyRotation) string {
	switch {
	case r.At == 0:
		return ""
	case r.Back:
		return r.Versions[r.At].KID
	}
	return r.Versions[r.At-1].KID
}

// swap has the other version of the rotation under way sign, and the one that
// did so far verify no more.
func swap(r *capsign.KeyRotation, now time.Time) {
	r.Back = !r.Back
	if r.Back {
		r.T1 = time.Time{}
	} else {
		r.T1 = now
	}
}

// substitute puts to in the active version's place in the lineage, so that
// whatever else the rotation says stays true.
func substitute(r *capsign.KeyRotation, active string, to capsign.KeyVersion) {
	lineage, others := without(r.Versions[:r.At+1], to.KID), without(r.Versions[r.At+1:], to.KID)
	i := indexOf(lineage, active)
	others = slices.Insert(others, 0, lineage[i])
	lineage[i] = to
	setLineage(r, lineage, others)
}
