package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/capsign/cap/capsign"
)

const (
	// PredicateType says that a statement is a signature and nothing more: what
	// cosign v3 writes when it signs an image.
	PredicateType = "https://sigstore.dev/cosign/sign/v1"

	payloadType   = "application/vnd.in-toto+json"
	statementType = "https://in-toto.io/Statement/v1"

	// maxSubjects is how many subjects sigstore's verifiers read.
	maxSubjects = 1024
	digestSize  = sha256.Size
)

// statement is an in-toto statement (v1) about artifacts.
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     predicate `json:"predicate"`
}

// subject is one artifact of a statement.
type subject struct {
	// Name is empty where the digest says it all, as in a registry.
	Name string `json:"name,omitzero"`
	// Digest holds digests in hex by the name of their algorithm.
	Digest map[string]string `json:"digest"`
}

// predicate is what is said of the subjects.
type predicate struct {
	// KID is the key version that signs; empty where cosign has signed.
	KID string `json:"kid,omitzero"`
}

// newStatement returns the statement that an artifact of a SHA-256 is signed
// with a key version. The name may be empty.
func newStatement(name string, digest []byte, kid string) *statement {
	return &statement{
		Type:          statementType,
		Subject:       []subject{{Name: name, Digest: map[string]string{"sha256": hex.EncodeToString(digest)}}},
		PredicateType: PredicateType,
		Predicate:     predicate{KID: kid},
	}
}

// encode returns the statement as JSON, in one spelling.
func (s *statement) encode() ([]byte, error) {
	data, err := json.Marshal(s, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("bundle: statement: %w", capsign.Internal)
	}
	return data, nil
}

// parseStatement reads a statement. Of another predicate than a signature's,
// which may well say something bad of the artifact, it wraps
// [capsign.UnsupportedScheme].
func parseStatement(payload []byte) (*statement, error) {
	var head struct {
		Type          string `json:"_type"`
		PredicateType string `json:"predicateType"`
	}
	if json.Unmarshal(payload, &head) != nil {
		return nil, capsign.BadRequest
	}
	if head.Type != statementType || head.PredicateType != PredicateType {
		return nil, capsign.UnsupportedScheme
	}
	s := new(statement)
	if json.Unmarshal(payload, s) != nil || len(s.Subject) == 0 || len(s.Subject) > maxSubjects {
		return nil, capsign.BadRequest
	}
	return s, nil
}

// isAbout reports whether a SHA-256 is among the statement's subjects.
func (s *statement) isAbout(digest []byte) bool {
	text := hex.EncodeToString(digest)
	return len(digest) == digestSize && slices.ContainsFunc(s.Subject, func(one subject) bool {
		return one.Digest["sha256"] == text
	})
}

// pae returns the bytes that are signed for a DSSE payload: its pre-authentication
// encoding (DSSE v1).
func pae(payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}
