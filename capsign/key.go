package capsign

import (
	"crypto"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
)

// State is what a key version may do now.
type State string

// The states of a key version.
const (
	Active   State = "active"   // signs and verifies
	Accepted State = "accepted" // verifies
	Retired  State = "retired"  // does nothing
)

// Class says what kind of place holds a key, and with it which latency budget
// its signatures have.
type Class string

// The classes of key providers, with the time within which 95 of 100 signatures
// are made.
const (
	ClassSoftware Class = "software" // in the worker's memory: 50 ms
	ClassToken    Class = "token"    // a software token or a network HSM: 50 ms
	ClassChip     Class = "chip"     // a TPM or a small USB HSM: 1 s
	ClassCloud    Class = "cloud"    // a cloud's key management service: 150 ms
)

// Key is one key version as workers publish it in [KeysBucket] under its kid.
type Key struct {
	// KID is recomputed from SPKI, Provider and Name whenever a Key is decoded.
	KID string
	// Alg is the one algorithm the key signs with.
	Alg Alg
	// Provider is the provider id, one of the Provider constants.
	Provider string
	// Name is the key's logical name, shared by all its versions.
	Name string
	// Class is the class of the place that holds the key.
	Class Class
	// Backend names that place in its own words: a token's label, or gcp, aws or
	// azure; empty for software keys.
	Backend string
	// Version is the backend's own name of this key version: a key file's
	// number, a CKA_LABEL, a cloud's version or key id.
	Version string
	// Pool is the pool that signs with the key; empty in a key read from a file.
	Pool string
	// State is what the worker last said of the key; empty in a key read from a
	// file.
	State State
	// SPKI is the canonical DER SubjectPublicKeyInfo.
	SPKI []byte

	public crypto.PublicKey
}

// Signature is one signature with the key version that made it.
type Signature struct {
	// KID identifies the key version.
	KID string
	// Alg is its algorithm, which fixes the encoding of Bytes.
	Alg Alg
	// Bytes is the signature in Alg's canonical encoding.
	Bytes []byte
}

// NewKey returns the key version that a public key and its place make. Class,
// Backend, Version, Pool and State are left empty. Errors wrap [BadRequest] or [UnsupportedAlg].
func NewKey(alg Alg, spki []byte, providerID, keyName string) (Key, error) {
	public, err := ParsePublicKey(spki)
	if err != nil {
		return Key{}, err
	}
	if !slices.Contains(algsOf(public), alg) {
		return Key{}, fmt.Errorf("capsign: key of another type than %s: %w", alg, UnsupportedAlg)
	}
	kid, err := KID(spki, providerID, keyName)
	if err != nil {
		return Key{}, err
	}
	return Key{KID: kid, Alg: alg, Provider: providerID, Name: keyName, SPKI: spki, public: public}, nil
}

// Public returns the public key: an ed25519.PublicKey, *ecdsa.PublicKey or
// *rsa.PublicKey.
func (k Key) Public() crypto.PublicKey { return k.public }

// Verify checks that sig is the key's signature of msg. It wraps
// [SignatureInvalid] where it is not. It does not ask whether the key may still
// be trusted: [KeySet.Verify] does.
func (k Key) Verify(msg, sig []byte) error { return verify(k.Alg, k.public, msg, sig) }

// SPKISHA256 returns the hex SHA-256 of the key's SPKI.
func (k Key) SPKISHA256() string { return SPKISHA256(k.SPKI) }

// Thumbprint returns the key's JWK thumbprint (RFC 7638).
func (k Key) Thumbprint() string { return Thumbprint(k.public) }

// goesBy reports whether id is the key's kid, SPKI fingerprint or thumbprint:
// a person may type any of the three.
func (k Key) goesBy(id string) bool {
	return id == k.KID || id == k.SPKISHA256() || id == k.Thumbprint()
}

// keyRecord is a Key's JSON form in [KeysBucket].
type keyRecord struct {
	V        int    `json:"v"`
	KID      string `json:"kid"`
	Alg      Alg    `json:"alg"`
	Provider string `json:"provider"`
	KeyName  string `json:"key_name"`
	Class    Class  `json:"class"`
	Backend  string `json:"backend,omitzero"`
	Version  string `json:"version"`
	Pool     string `json:"pool"`
	State    State  `json:"state"`
	SPKI     []byte `json:"spki"`
}

// Encode returns the key's record for [KeysBucket].
func (k Key) Encode() ([]byte, error) {
	record := keyRecord{Version, k.KID, k.Alg, k.Provider, k.Name, k.Class, k.Backend, k.Version, k.Pool, k.State, k.SPKI}
	data, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("capsign: encode key: %w", Internal)
	}
	return data, nil
}

// DecodeKey decodes a record of [KeysBucket] and recomputes its kid: a record
// whose kid is not its own wraps [Integrity].
func DecodeKey(data []byte) (Key, error) {
	var record keyRecord
	if err := unmarshalStrict(data, &record); err != nil {
		return Key{}, err
	}
	if record.V != Version {
		return Key{}, fmt.Errorf("capsign: key record: %w", UnsupportedVersion)
	}
	if err := CheckToken(record.Pool); err != nil {
		return Key{}, err
	}
	if !slices.Contains([]State{Active, Accepted, Retired}, record.State) {
		return Key{}, fmt.Errorf("capsign: key record: state: %w", BadRequest)
	}
	if !slices.Contains([]Class{ClassSoftware, ClassToken, ClassChip, ClassCloud}, record.Class) {
		return Key{}, fmt.Errorf("capsign: key record: class: %w", BadRequest)
	}
	key, err := NewKey(record.Alg, record.SPKI, record.Provider, record.KeyName)
	if err != nil {
		return Key{}, err
	}
	if key.KID != record.KID {
		return Key{}, fmt.Errorf("capsign: key record under another kid: %w", Integrity)
	}
	key.Class, key.Backend, key.Version = record.Class, record.Backend, record.Version
	key.Pool, key.State = record.Pool, record.State
	return key, nil
}
