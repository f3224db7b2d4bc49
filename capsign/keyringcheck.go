package capsign

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of a keyring.
const (
	// MaxKeyringSize is the longest envelope of a keyring, in bytes: what a NATS
	// server accepts by default, with its headers.
	MaxKeyringSize = 1<<20 - 8<<10
	// MaxReason is the longest reason, in bytes.
	MaxReason = 256
	// MaxRoots is the most root keys that a keyring may name.
	MaxRoots = 16
	// MaxVersions is the most versions of one key that a keyring may name.
	MaxVersions = 64
)

// actions lists what can make a keyring.
var actions = []string{
	ActionInit, ActionAdd, ActionRotate, ActionRollback, ActionRevoke, ActionRenew, ActionRoots,
}

// malformed returns the error for a keyring whose part named what is not as it
// has to be.
func malformed(what string) error { return fmt.Errorf("capsign: keyring: %s: %w", what, BadRequest) }

// Check holds the keyring to the rules that need nothing but itself; decoding
// does so too. It wraps [Integrity] where a kid is not that of its key,
// [UnsupportedVersion], or [BadRequest].
func (k *Keyring) Check() error {
	first := k.Version == 1
	switch {
	case k.V == 0:
		return malformed("no format version")
	case k.V != Version:
		return fmt.Errorf("capsign: keyring: %w", UnsupportedVersion)
	case k.Version == 0, first != (k.Previous == ""), first != (k.Action == ActionInit):
		return malformed("version")
	case !first && !isSHA256(k.Previous):
		return malformed("previous")
	case !isInstant(k.Issued) || !isInstant(k.Expires) || !k.Issued.Before(k.Expires):
		return malformed("issued or expires")
	case !slices.Contains(actions, k.Action):
		return malformed("action")
	case !isReason(k.Reason):
		return malformed("reason")
	}
	if err := k.Roots.check(); err != nil {
		return err
	}
	return k.checkKeys()
}

// checkKeys holds each key to its rules, and their names to their order.
func (k *Keyring) checkKeys() error {
	if len(k.Keys) == 0 {
		return malformed("no keys")
	}
	for i, r := range k.Keys {
		if i > 0 && k.Keys[i-1].Name >= r.Name {
			return malformed("order of keys")
		}
		if err := r.check(); err != nil {
			return err
		}
	}
	return nil
}

// check holds the roots to their number, their algorithms and being different.
func (r Roots) check() error {
	if r.Threshold < 1 || r.Threshold > len(r.Keys) || len(r.Keys) > MaxRoots {
		return malformed("threshold of roots")
	}
	seen := make(map[string]bool)
	for _, root := range r.Keys {
		public, err := ParsePublicKey(root.SPKI)
		if err != nil {
			return err
		}
		if root.Alg != Ed25519 && root.Alg != ES256 || !slices.Contains(algsOf(public), root.Alg) {
			return fmt.Errorf("capsign: keyring: root: %w", UnsupportedAlg)
		}
		if seen[root.Fingerprint()] {
			return malformed("root named twice")
		}
		seen[root.Fingerprint()] = true
	}
	return nil
}

// check holds a key's rotation to its shape.
func (r KeyRotation) check() error {
	if err := CheckKeyName(r.Name); err != nil {
		return err
	}
	if err := CheckToken(r.Pool); err != nil {
		return err
	}
	switch {
	case len(r.Versions) == 0 || len(r.Versions) > MaxVersions:
		return malformed("number of key versions")
	case r.At < 0 || r.At >= len(r.Versions) || r.Back && r.At == 0:
		return malformed("rotation")
	case r.T1.IsZero() != (r.At == 0 || r.Back), !r.T1.IsZero() && !isInstant(r.T1):
		return malformed("t1")
	case r.Overlap < 0:
		return malformed("overlap")
	case !areKIDs(r.Revoked):
		return malformed("revoked kids")
	}
	if err := r.checkVersions(); err != nil {
		return err
	}
	if r.revoked(r.Active()) {
		return malformed("active kid is revoked")
	}
	return nil
}

// checkVersions recomputes each version's kid.
func (r KeyRotation) checkVersions() error {
	seen := make(map[string]bool)
	for _, v := range r.Versions {
		key, err := v.key(r.Name, r.Pool)
		if err != nil {
			return err
		}
		if key.KID != v.KID {
			return fmt.Errorf("capsign: keyring: key under another kid: %w", Integrity)
		}
		if seen[v.KID] {
			return malformed("kid named twice")
		}
		seen[v.KID] = true
	}
	return nil
}

// areKIDs reports whether kids are kids, sorted, none of them twice.
func areKIDs(kids []string) bool {
	for i, kid := range kids {
		if !isKID(kid) || i > 0 && kids[i-1] >= kid {
			return false
		}
	}
	return true
}

// isInstant reports whether t is an instant in UTC that JSON can hold.
func isInstant(t time.Time) bool {
	return !t.IsZero() && t.Location() == time.UTC && t.Year() >= 0 && t.Year() <= 9999
}

// isReason reports whether s is 1 to [MaxReason] bytes that print.
func isReason(s string) bool {
	return s != "" && len(s) <= MaxReason && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// isSHA256 reports whether s is a SHA-256 in lower-case hex.
func isSHA256(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && len(raw) == sha256.Size && hex.EncodeToString(raw) == s
}
