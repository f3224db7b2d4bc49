package capsign

import (
	"fmt"
	"slices"
	"time"
)

// Active returns the one kid that signs. The rotation must be one of a keyring
// that was checked.
func (r KeyRotation) Active() string { return r.Versions[r.activeIndex()].KID }

// activeIndex is where in Versions the active kid is.
func (r KeyRotation) activeIndex() int {
	if r.Back {
		return r.At - 1
	}
	return r.At
}

// Accepted returns the kids that verify at now besides the active one: none, or
// the one that is replaced, until T1. At T1 itself it is gone.
func (r KeyRotation) Accepted(now time.Time) []string {
	if r.Stage(now) != 2 {
		return nil
	}
	return []string{r.Versions[r.At-1].KID}
}

// Retired returns the kids that do nothing at now: all versions but the active
// and the accepted ones, with the revoked.
func (r KeyRotation) Retired(now time.Time) []string {
	var kids []string
	for _, v := range r.Versions {
		if r.State(v.KID, now) == Retired {
			kids = append(kids, v.KID)
		}
	}
	return kids
}

// Stage returns where the key stands at now: 1, the old version alone signs and
// verifies; 2, both verify and the new one signs; 3, the new one alone does. A
// key that was never rotated, or was rolled back, is in stage 1. Where the old
// version has been revoked there is nothing to overlap with: stage 3.
func (r KeyRotation) Stage(now time.Time) int {
	switch {
	case r.At == 0 || r.Back:
		return 1
	case now.Before(r.T1) && !r.revoked(r.Versions[r.At-1].KID):
		return 2
	}
	return 3
}

// State returns what a kid of the key's may do at now. A revoked kid, and one
// that the key does not have, are Retired: [Keyring.State] tells them apart.
func (r KeyRotation) State(kid string, now time.Time) State {
	switch {
	case kid == r.Active():
		return Active
	case slices.Contains(r.Accepted(now), kid):
		return Accepted
	}
	return Retired
}

// revoked reports whether the key's kid was revoked.
func (r KeyRotation) revoked(kid string) bool {
	_, found := slices.BinarySearch(r.Revoked, kid)
	return found
}

// Rotation returns the key of that name. It wraps [KeyUnknown] where the
// keyring has none.
func (k *Keyring) Rotation(name string) (KeyRotation, error) {
	for _, r := range k.Keys {
		if r.Name == name {
			return r, nil
		}
	}
	return KeyRotation{}, fmt.Errorf("capsign: keyring: %w", KeyUnknown)
}

// Expired reports whether the keyring says nothing any more at now: from
// Expires on.
func (k *Keyring) Expired(now time.Time) bool { return !now.Before(k.Expires) }

// State returns what the key version that goes by id may do at now: sign and
// verify, verify, or nothing. id is a kid, an SPKI SHA-256 in hex or a JWK
// thumbprint. Errors, in this order: [KeyRevoked], whatever the time;
// [KeyringExpired]; [KIDUnknown]; and [Ambiguous] for a fingerprint of several.
func (k *Keyring) State(id string, now time.Time) (State, error) {
	_, state, err := k.lookUp(id, now)
	return state, err
}

// Verify checks that sig is the signature of msg by the key version that goes
// by id, and that it counts at now. It wraps [KeyRetired] where it no longer
// does, [SignatureInvalid], or what [Keyring.State] wraps.
func (k *Keyring) Verify(id string, msg, sig []byte, now time.Time) error {
	found, state, err := k.lookUp(id, now)
	if err != nil {
		return err
	}
	if state != Active && state != Accepted {
		return fmt.Errorf("capsign: verify: %w", KeyRetired)
	}
	key, err := found.key()
	if err != nil {
		return err
	}
	return key.Verify(msg, sig)
}

// Key returns the key version that goes by id, as [KeySet.Key] does; State is
// left empty.
func (k *Keyring) Key(id string) (Key, error) {
	found, err := k.find(id)
	if err != nil {
		return Key{}, err
	}
	return found.key()
}

// lookUp finds the key version that goes by id, with what it may do at now.
func (k *Keyring) lookUp(id string, now time.Time) (versionOfKey, State, error) {
	found, err := k.find(id)
	if k.revoked(id) || err == nil && found.of.revoked(found.KID) {
		return versionOfKey{}, "", fmt.Errorf("capsign: key: %w", KeyRevoked)
	}
	if k.Expired(now) {
		return versionOfKey{}, "", fmt.Errorf("capsign: keyring: %w", KeyringExpired)
	}
	if err != nil {
		return versionOfKey{}, "", err
	}
	return found, found.of.State(found.KID, now), nil
}

// revoked reports whether id is a kid that any key has had revoked: its version
// need not be known any more.
func (k *Keyring) revoked(id string) bool {
	return slices.ContainsFunc(k.Keys, func(r KeyRotation) bool { return r.revoked(id) })
}

// versionOfKey is a key version with the key it belongs to.
type versionOfKey struct {
	KeyVersion
	of KeyRotation
}

// key returns the version as a [Key].
func (v versionOfKey) key() (Key, error) { return v.KeyVersion.key(v.of.Name, v.of.Pool) }

// find returns the key version that goes by id. It wraps [KIDUnknown], or
// [Ambiguous] for a fingerprint that several kids have.
func (k *Keyring) find(id string) (versionOfKey, error) {
	var found []versionOfKey
	for _, r := range k.Keys {
		for _, v := range r.Versions {
			if v.KID == id {
				return versionOfKey{v, r}, nil // no other can have it
			}
			if v.goesBy(id) {
				found = append(found, versionOfKey{v, r})
			}
		}
	}
	switch len(found) {
	case 0:
		return versionOfKey{}, fmt.Errorf("capsign: key: %w", KIDUnknown)
	case 1:
		return found[0], nil
	}
	choices := make([]string, len(found))
	for i, v := range found {
		choices[i] = v.KID
	}
	return versionOfKey{}, &AmbiguousError{What: "kid", Choices: choices}
}

// goesBy reports whether id is the version's SPKI fingerprint or thumbprint.
func (v KeyVersion) goesBy(id string) bool {
	if isSHA256(id) { // which a thumbprint does not look like
		return id == SPKISHA256(v.SPKI)
	}
	public, err := ParsePublicKey(v.SPKI)
	return err == nil && id == Thumbprint(public)
}
