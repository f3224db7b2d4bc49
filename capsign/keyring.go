package capsign

import (
	"fmt"
	"time"
)

// The actions that make a keyring out of its predecessor.
const (
	ActionInit     = "init"     // the first version
	ActionAdd      = "add"      // a further key is named
	ActionRotate   = "rotate"   // a key gets another active kid
	ActionRollback = "rollback" // a key's rotation goes one stage back
	ActionRevoke   = "revoke"   // a kid never counts again
	ActionRenew    = "renew"    // nothing but a later expiry
	ActionRoots    = "roots"    // other roots sign from the next version on
)

// Keyring is one version of the statement of which kids sign and verify, and
// until when: the payload of a [SignedKeyring]. What it says at an instant is
// given by [Keyring.State]. A Keyring that was put together by hand says
// something only once [Keyring.Check] has passed.
type Keyring struct {
	// V is the format's version, [Version].
	V int `json:"v"`
	// Version counts the keyrings of one history: 1, 2, 3 and so on.
	Version uint64 `json:"version"`
	// Previous is the predecessor's [SignedKeyring.Hash]; empty in version 1.
	Previous string `json:"previous,omitzero"`
	// Issued is when the version was made, in UTC, to the nanosecond.
	Issued time.Time `json:"issued"`
	// Expires is the instant from which on the keyring says nothing any more:
	// its keys neither sign nor verify until it is renewed. In UTC.
	Expires time.Time `json:"expires"`
	// Roots says who must sign this version and the next.
	Roots Roots `json:"roots"`
	// Action is one of the Action constants: what made this version.
	Action string `json:"action"`
	// Reason is the operator's own: 1 to [MaxReason] bytes that print.
	Reason string `json:"reason"`
	// Keys holds one entry per key name, sorted by name.
	Keys []KeyRotation `json:"keys"`
}

// Roots are the root keys whose signatures make a keyring.
type Roots struct {
	// Threshold is how many of Keys must sign, 1 or more.
	Threshold int `json:"threshold"`
	// Keys are 1 to [MaxRoots] different keys.
	Keys []RootKey `json:"keys"`
}

// RootKey is the public half of a root key.
type RootKey struct {
	// Alg is Ed25519 or ES256.
	Alg Alg `json:"alg"`
	// SPKI is the canonical DER SubjectPublicKeyInfo.
	SPKI []byte `json:"spki"`
}

// KeyRotation is where one key stands in its rotation.
type KeyRotation struct {
	// Name is the key's name and Pool the pool that signs with it.
	Name string `json:"name"`
	Pool string `json:"pool"`
	// Versions are the key versions that the keyring knows, 1 to [MaxVersions]
	// with different kids. Up to the index At they are the key's lineage, oldest
	// first. Behind it are those that a rollback, a change after one or a
	// revocation took out of the lineage: all retired, kept so that a verifier
	// can say so.
	Versions []KeyVersion `json:"versions"`
	// At is the index of the rotation under way: it leads from Versions[At-1] to
	// Versions[At]. Zero means that the key was never rotated.
	At int `json:"at"`
	// Back says that the rotation was rolled back: Versions[At-1] signs again
	// and Versions[At] is retired.
	Back bool `json:"back"`
	// T1 is the instant from which on Versions[At-1] does not verify, in UTC; it
	// is zero where At is zero or Back is set.
	T1 time.Time `json:"t1,omitzero"`
	// Overlap is how long both verified in the last rotation that was begun:
	// what a rollback to stage 2 takes unless it is told another.
	Overlap Duration `json:"overlap,omitzero"`
	// Revoked lists, sorted, the kids that never sign or verify again. They need
	// not be among Versions.
	Revoked []string `json:"revoked,omitempty"`
	// SignAccepted says whether a request that names an accepted kid is signed;
	// otherwise the active one alone signs.
	SignAccepted bool `json:"sign_accepted"`
}

// KeyVersion is one key version of a [KeyRotation].
type KeyVersion struct {
	// KID is recomputed whenever a keyring is decoded.
	KID string `json:"kid"`
	// Alg is the one algorithm the key version signs with.
	Alg Alg `json:"alg"`
	// Provider is the provider id, one of the Provider constants.
	Provider string `json:"provider"`
	// SPKI is the canonical DER SubjectPublicKeyInfo.
	SPKI []byte `json:"spki"`
}

// Fingerprint returns the hex SHA-256 of the root's SPKI, which is what
// verifiers pin and the key id under which the root signs.
func (r RootKey) Fingerprint() string { return SPKISHA256(r.SPKI) }

// Verify checks that sig is the root's signature of msg; it wraps
// [SignatureInvalid] where it is not, and what [ParsePublicKey] says of a root
// that holds no key.
func (r RootKey) Verify(msg, sig []byte) error {
	public, err := ParsePublicKey(r.SPKI)
	if err != nil {
		return err
	}
	return verify(r.Alg, public, msg, sig)
}

// Fingerprints returns the fingerprints of all roots, in their order.
func (r Roots) Fingerprints() []string {
	prints := make([]string, len(r.Keys))
	for i, root := range r.Keys {
		prints[i] = root.Fingerprint()
	}
	return prints
}

// VersionOf returns key as keyrings name it.
func VersionOf(key Key) KeyVersion { return KeyVersion{key.KID, key.Alg, key.Provider, key.SPKI} }

// key returns the version as a [Key] of the key name in the pool. Errors are
// those of [NewKey].
func (v KeyVersion) key(name, pool string) (Key, error) {
	key, err := NewKey(v.Alg, v.SPKI, v.Provider, name)
	key.Pool = pool
	return key, err
}

// Duration is a length of time whose JSON form is text such as "720h0m0s", the
// only spelling that decodes.
type Duration time.Duration

// String returns the text form.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText returns the text form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText decodes the text form. Anything else wraps [BadRequest].
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil || parsed.String() != string(text) {
		return fmt.Errorf("capsign: duration: %w", BadRequest)
	}
	*d = Duration(parsed)
	return nil
}
