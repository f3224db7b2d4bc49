package rotation

import (
	"fmt"
	"time"

	"github.com/capsign/cap/capsign"
)

// Active returns the kid that signs for the key, or "" where no keyring names
// the key and none is required. It wraps capsign.KeyringMissing where one is
// required, capsign.KeyringStale where it may be out of date, and
// capsign.KeyringExpired.
func (f *Follower) Active(name string) (kid string, err error) {
	rotation, _, err := f.rotation(name)
	if err != nil || rotation == nil {
		return "", err
	}
	return rotation.Active(), nil
}

// MaySign says whether a kid that a request names may sign for the key: the
// active one may, an accepted one where the keyring lets it, no other. It wraps
// what Active wraps, capsign.KeyRetired, capsign.KeyRevoked, capsign.Denied for
// an accepted kid, or capsign.KIDUnknown.
func (f *Follower) MaySign(name, kid string) error {
	rotation, now, err := f.rotation(name)
	if err != nil || rotation == nil {
		return err
	}
	state, err := f.Keyring().Keyring().State(kid, now)
	switch {
	case err != nil:
		return err
	case state == capsign.Active, state == capsign.Accepted && rotation.SignAccepted:
		return nil
	case state == capsign.Accepted:
		return fmt.Errorf("rotation: an accepted kid: %w", capsign.Denied)
	}
	return fmt.Errorf("rotation: %w", capsign.KeyRetired)
}

// State returns what a kid of the key's may do now; Accepted, which lets it
// verify, where no keyring says.
func (f *Follower) State(name, kid string) capsign.State {
	rotation, now, err := f.rotation(name)
	if err != nil || rotation == nil {
		return capsign.Accepted
	}
	return rotation.State(kid, now)
}

// rotation returns what the keyring in force says of the key, or nil where there
// is no keyring or it does not name the key.
func (f *Follower) rotation(name string) (*capsign.KeyRotation, time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	switch {
	case !f.mark.Pinned():
		return nil, now, nil
	case f.mark.Signed != nil && f.mark.Signed.Keyring().Expired(now):
		return nil, now, fmt.Errorf("rotation: %w", capsign.KeyringExpired)
	case f.confirmed.IsZero(), f.cfg.Clock().Sub(f.confirmed) > f.cfg.MaxStale:
		return nil, now, fmt.Errorf("rotation: %w", capsign.KeyringStale)
	case f.mark.Signed == nil:
		return nil, now, fmt.Errorf("rotation: %w", capsign.KeyringMissing)
	}
	rotation, err := f.mark.Signed.Keyring().Rotation(name)
	if err != nil {
		return nil, now, nil // a key that no keyring names is not rotated
	}
	return &rotation, now, nil
}

// now returns the time that counts, which never goes back. The caller holds mu.
func (f *Follower) now() time.Time {
	f.mark.LatestSeen = f.mark.Now(f.cfg.Clock().UTC())
	return f.mark.LatestSeen
}
