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
	r, ruled, err := f.ruling(name)
	if err != nil || !ruled {
		return "", err
	}
	return r.key.Active(), nil
}

// MaySign says whether a kid that a request names may sign for the key: the
// active one may, an accepted one where the keyring lets it, no other. It wraps
// what Active wraps, capsign.KeyRetired, capsign.KeyRevoked, capsign.Denied for
// an accepted kid, or capsign.KIDUnknown.
func (f *Follower) MaySign(name, kid string) error {
	r, ruled, err := f.ruling(name)
	if err != nil || !ruled {
		return err
	}
	state, err := r.keyring.State(kid, r.now)
	switch {
	case err != nil:
		return err
	case state == capsign.Active, state == capsign.Accepted && r.key.SignAccepted:
		return nil
	case state == capsign.Accepted:
		return fmt.Errorf("rotation: an accepted kid: %w", capsign.Denied)
	}
	return fmt.Errorf("rotation: %w", capsign.KeyRetired)
}

// State returns what a kid of the key's may do now; Accepted, which lets it
// verify, where no keyring says.
func (f *Follower) State(name, kid string) capsign.State {
	r, ruled, err := f.ruling(name)
	if err != nil || !ruled {
		return capsign.Accepted
	}
	return r.key.State(kid, r.now)
}

// ruling is what one keyring says of one key at one time.
type ruling struct {
	keyring *capsign.Keyring
	key     capsign.KeyRotation
	now     time.Time
}

// ruling returns what the keyring in force says of the key; ruled is false where
// there is no keyring or it does not name the key.
func (f *Follower) ruling(name string) (r ruling, ruled bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	switch {
	case !f.mark.Pinned():
		return ruling{}, false, nil
	case f.mark.Signed != nil && f.mark.Signed.Keyring().Expired(now):
		return ruling{}, false, fmt.Errorf("rotation: %w", capsign.KeyringExpired)
	case f.confirmed.IsZero(), f.cfg.Clock().Sub(f.confirmed) > f.cfg.MaxStale:
		return ruling{}, false, fmt.Errorf("rotation: %w", capsign.KeyringStale)
	case f.mark.Signed == nil:
		return ruling{}, false, fmt.Errorf("rotation: %w", capsign.KeyringMissing)
	}
	r = ruling{keyring: f.mark.Signed.Keyring(), now: now}
	if r.key, err = r.keyring.Rotation(name); err != nil {
		return ruling{}, false, nil // a key that no keyring names is not rotated
	}
	return r, true, nil
}

// now returns the time that counts, which never goes back. The caller holds mu.
func (f *Follower) now() time.Time {
	f.mark.LatestSeen = f.mark.Now(f.cfg.Clock().UTC())
	return f.mark.LatestSeen
}
