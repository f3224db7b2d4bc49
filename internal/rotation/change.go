// Package rotation makes keyrings, and keeps and follows them. A change, such as
// [Apply] or [Rollback], is a pure function of the keyring in force and of what
// is asked for: the time is given, nothing is read or written, and what comes
// out is a keyring for the roots to [Sign]. What a keyring says at an instant is
// for [capsign.Keyring] to answer.
//
// A key's stages: 1, the old version alone signs and verifies; 2, both verify
// and the new one signs; 3, the new one alone. T1 is when 2 becomes 3.
package rotation

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capsign/cap/capsign"
)

// DefaultExpiry is how long a keyring holds unless a change says otherwise.
const DefaultExpiry = 365 * 24 * time.Hour

// Change is what every change has.
type Change struct {
	// Reason is the operator's own, 1 to [capsign.MaxReason] bytes that print.
	Reason string
	// Now is when the new version is issued: no earlier than its predecessor. It
	// must not be zero.
	Now time.Time
	// Expires is how long the new version holds; 0 means [DefaultExpiry].
	Expires time.Duration
}

// Init returns the first keyring, which names the given keys in any order; see
// [FirstVersion]. It wraps what [capsign.Keyring.Check] wraps.
func Init(roots capsign.Roots, keys []capsign.KeyRotation, c Change) (capsign.Keyring, error) {
	k := capsign.Keyring{Roots: roots, Keys: slices.Clone(keys)}
	sortKeys(&k)
	return c.stamp(k, capsign.ActionInit)
}

// FirstVersion returns a key that was never rotated: its one version is active.
// A request that names an accepted kid is refused; see
// [capsign.KeyRotation.SignAccepted].
func FirstVersion(key capsign.Key) capsign.KeyRotation {
	return capsign.KeyRotation{
		Name: key.Name, Pool: key.Pool, Versions: []capsign.KeyVersion{capsign.VersionOf(key)},
	}
}

// Add names a further key. A name that is taken wraps [capsign.BadRequest].
func Add(held *capsign.SignedKeyring, key capsign.KeyRotation, c Change) (capsign.Keyring, error) {
	return c.after(held, capsign.ActionAdd, func(k *capsign.Keyring) error {
		k.Keys = append(k.Keys, key)
		sortKeys(k)
		return nil
	})
}

// Renew changes nothing but when the keyring expires, which an expired one
// needs to say something again.
func Renew(held *capsign.SignedKeyring, c Change) (capsign.Keyring, error) {
	return c.after(held, capsign.ActionRenew, func(*capsign.Keyring) error { return nil })
}

// SetRoots has other roots sign from the next version on. This one needs enough
// signatures of the roots in force and of the new ones.
func SetRoots(held *capsign.SignedKeyring, roots capsign.Roots, c Change) (capsign.Keyring, error) {
	return c.after(held, capsign.ActionRoots, func(k *capsign.Keyring) error {
		k.Roots = roots
		return nil
	})
}

// after returns held's successor as edit leaves it.
func (c Change) after(held *capsign.SignedKeyring, action string, edit func(*capsign.Keyring) error) (capsign.Keyring, error) {
	k := *held.Keyring()
	if c.Now.Before(k.Issued) {
		return capsign.Keyring{}, refuse("earlier than the keyring in force", capsign.BadRequest)
	}
	k.Version, k.Previous, k.Keys = k.Version+1, held.Hash(), slices.Clone(k.Keys)
	if err := edit(&k); err != nil {
		return capsign.Keyring{}, err
	}
	return c.stamp(k, action)
}

// toKey returns held's successor with the one key as edit leaves it. A name
// that the keyring does not have wraps [capsign.KeyUnknown].
func (c Change) toKey(held *capsign.SignedKeyring, name, action string, edit func(*capsign.KeyRotation) error) (capsign.Keyring, error) {
	return c.after(held, action, func(k *capsign.Keyring) error {
		i, found := slices.BinarySearchFunc(k.Keys, name, func(r capsign.KeyRotation, name string) int {
			return strings.Compare(r.Name, name)
		})
		if !found {
			return refuse("key", capsign.KeyUnknown)
		}
		return edit(&k.Keys[i])
	})
}

// stamp finishes a keyring and checks it.
func (c Change) stamp(k capsign.Keyring, action string) (capsign.Keyring, error) {
	k.V, k.Version = capsign.Version, max(k.Version, 1)
	k.Action, k.Reason = action, c.Reason
	k.Issued = instant(c.Now)
	k.Expires = k.Issued.Add(cmp.Or(c.Expires, DefaultExpiry))
	if err := k.Check(); err != nil {
		return capsign.Keyring{}, err
	}
	return k, nil
}

// sortKeys puts the keys into the order that a keyring has them in.
func sortKeys(k *capsign.Keyring) {
	slices.SortFunc(k.Keys, func(a, b capsign.KeyRotation) int { return strings.Compare(a.Name, b.Name) })
}

// instant returns t as keyrings have it: in UTC, and with that without a
// monotonic reading.
func instant(t time.Time) time.Time { return t.UTC() }

// refuse returns the error for a change that is refused because of what.
func refuse(what string, code capsign.Code) error {
	return fmt.Errorf("rotation: %s: %w", what, code)
}
