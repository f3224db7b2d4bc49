package capsign

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
)

// KeyringPayloadType is the DSSE payload type of a keyring.
const KeyringPayloadType = "application/vnd.cap.keyring.v1+json"

// maxSignatures is the most signatures that an envelope may carry: twice the
// roots, since those that leave sign once more, and room for strangers.
const maxSignatures = 64

// SignedKeyring is a keyring with the signatures of its roots: what is
// published, exported and kept. Its form is a DSSE envelope
// (https://github.com/secure-systems-lab/dsse). Having one says nothing about
// whether to believe it: [Trust] and [Succeeds] do. It never changes.
type SignedKeyring struct {
	payload    []byte
	keyring    Keyring
	signatures []rootSignature
}

// rootSignature is one signature of an envelope.
type rootSignature struct {
	// KeyID is the fingerprint of the root that signed.
	KeyID string `json:"keyid"`
	// Sig is the signature over the payload's [DSSEPAE].
	Sig strictBase64 `json:"sig"`
}

// envelope is the JSON form of a SignedKeyring.
type envelope struct {
	Payload     strictBase64    `json:"payload"`
	PayloadType string          `json:"payloadType"`
	Signatures  []rootSignature `json:"signatures"`
}

// NewSignedKeyring encodes a keyring for its roots to sign. It wraps what
// [Keyring.Check] wraps, or [TooLarge].
func NewSignedKeyring(k Keyring) (*SignedKeyring, error) {
	if err := k.Check(); err != nil {
		return nil, err
	}
	payload, err := json.Marshal(k)
	if err != nil {
		return nil, fmt.Errorf("capsign: encode keyring: %w", Internal)
	}
	return newSignedKeyring(payload, nil)
}

// newSignedKeyring decodes and checks a payload.
func newSignedKeyring(payload []byte, signatures []rootSignature) (*SignedKeyring, error) {
	s := &SignedKeyring{payload: payload, signatures: signatures}
	if err := unmarshalStrict(payload, &s.keyring); err != nil {
		return nil, err
	}
	if err := s.keyring.Check(); err != nil {
		return nil, err
	}
	if _, err := s.Encode(); err != nil {
		return nil, err
	}
	return s, nil
}

// ParseSignedKeyring decodes an envelope and checks its payload's shape, not
// who signed it. It accepts standard base64 in its one canonical spelling and
// no members but DSSE's own. It wraps [TooLarge] beyond [MaxKeyringSize], what
// [Keyring.Check] wraps, or [BadRequest].
func ParseSignedKeyring(data []byte) (*SignedKeyring, error) {
	if len(data) > MaxKeyringSize {
		return nil, fmt.Errorf("capsign: keyring: %w", TooLarge)
	}
	var e envelope
	if err := unmarshalStrict(data, &e); err != nil {
		return nil, err
	}
	return e.open()
}

// open checks what is around the payload, and then the payload.
func (e envelope) open() (*SignedKeyring, error) {
	if e.PayloadType != KeyringPayloadType {
		return nil, malformed("payload type")
	}
	if len(e.Signatures) == 0 {
		return nil, malformed("no signatures")
	}
	return newSignedKeyring(e.Payload, e.Signatures)
}

// Keyring returns what was signed. It is not to be changed.
func (s *SignedKeyring) Keyring() *Keyring { return &s.keyring }

// Hash returns the hex SHA-256 of the payload's bytes as they were signed: what
// the next version has as its Previous.
func (s *SignedKeyring) Hash() string {
	sum := sha256.Sum256(s.payload)
	return hex.EncodeToString(sum[:])
}

// SigningInput returns the bytes that each root signs: the payload's [DSSEPAE].
func (s *SignedKeyring) SigningInput() []byte { return DSSEPAE(KeyringPayloadType, s.payload) }

// WithSignature returns a copy of s with sig as the signature of root, in place
// of one that root already has. It wraps [SignatureInvalid] where sig is none,
// or [TooLarge] where the envelope has no room for it.
func (s *SignedKeyring) WithSignature(root RootKey, sig []byte) (*SignedKeyring, error) {
	if err := root.Verify(s.SigningInput(), sig); err != nil {
		return nil, err
	}
	id := root.Fingerprint()
	others := slices.DeleteFunc(slices.Clone(s.signatures), func(r rootSignature) bool { return r.KeyID == id })
	return newSignedKeyring(s.payload, append(others, rootSignature{id, slices.Clone(sig)}))
}

// Encode returns the envelope. It wraps [TooLarge] beyond [MaxKeyringSize].
func (s *SignedKeyring) Encode() ([]byte, error) {
	data, err := json.Marshal(s.envelope())
	if err != nil {
		return nil, fmt.Errorf("capsign: encode keyring: %w", Internal)
	}
	if len(data) > MaxKeyringSize || len(s.signatures) > maxSignatures {
		return nil, fmt.Errorf("capsign: keyring: %w", TooLarge)
	}
	return data, nil
}

// envelope returns the JSON form.
func (s *SignedKeyring) envelope() envelope {
	return envelope{s.payload, KeyringPayloadType, s.signatures}
}

// DSSEPAE returns DSSE's pre-authentication encoding, which is what is signed:
//
//	"DSSEv1" SP len(type) SP type SP len(payload) SP payload
//
// with lengths in decimal bytes.
func DSSEPAE(payloadType string, payload []byte) []byte {
	pae := append([]byte("DSSEv1 "), strconv.Itoa(len(payloadType))...)
	pae = append(pae, " "+payloadType+" "+strconv.Itoa(len(payload))+" "...)
	return append(pae, payload...)
}

// strictBase64 is bytes whose text is their padded standard base64, in the one
// spelling that encoding them gives: a JSON decoder alone lets the unused bits
// of the last character be anything.
type strictBase64 []byte

// MarshalText returns the base64.
func (b strictBase64) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText decodes the base64. Anything else wraps [BadRequest].
func (b *strictBase64) UnmarshalText(text []byte) error {
	raw, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil || base64.StdEncoding.EncodeToString(raw) != string(text) {
		return fmt.Errorf("capsign: base64: %w", BadRequest)
	}
	*b = raw
	return nil
}
