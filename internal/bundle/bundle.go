// Package bundle writes and reads sigstore bundles (v0.3) that stock cosign
// verifies with the exported public key: of a file's bytes, or of a digest by
// way of an in-toto statement in a DSSE envelope.
//
// A bundle names its key version by the kid, in the public key's hint and, for
// a statement, in the signed predicate as well. The DSSE keyid stays empty:
// cosign and sigstore-go skip a signature whose keyid is not the key's SSH
// fingerprint.
package bundle

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	dssepb "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/capsign/cap/capsign"
)

// MediaType is the media type of a bundle, on its own and in a registry.
const MediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// mediaTypeBefore is how v0.3 was spelled at first; cosign reads both.
const mediaTypeBefore = "application/vnd.dev.sigstore.bundle+json;version=0.3"

// MaxSize is the longest bundle that is read, in bytes.
const MaxSize = 1 << 20

// Bundle is a sigstore bundle whose signature a public key verifies. What it
// holds is only known to be well-formed; Verify methods say what it is worth.
type Bundle struct {
	hint      string // what names the key; nothing signs it
	signature []byte
	digest    []byte     // of a file's bytes; nil of a statement
	payload   []byte     // of a DSSE envelope: the statement as it was signed
	statement *statement // payload, decoded; nil of a file's bytes
}

// Parse reads a bundle. What is no bundle wraps [capsign.BadRequest] or
// [capsign.TooLarge]; a bundle whose key is in a certificate, or that holds no
// in-toto statement, wraps [capsign.UnsupportedScheme].
func Parse(data []byte) (*Bundle, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("bundle: parse: %w", capsign.TooLarge)
	}
	pb := new(bundlepb.Bundle)
	if protojson.Unmarshal(data, pb) != nil {
		return nil, fmt.Errorf("bundle: parse: %w", capsign.BadRequest)
	}
	if pb.GetMediaType() != MediaType && pb.GetMediaType() != mediaTypeBefore {
		return nil, fmt.Errorf("bundle: parse: version: %w", capsign.UnsupportedScheme)
	}
	key := pb.GetVerificationMaterial().GetPublicKey()
	if key == nil {
		return nil, fmt.Errorf("bundle: parse: key: %w", capsign.UnsupportedScheme)
	}
	b := &Bundle{hint: key.GetHint()}
	if err := b.readContent(pb); err != nil {
		return nil, fmt.Errorf("bundle: parse: %w", err)
	}
	return b, nil
}

// readContent takes over what the bundle signs, and its signature.
func (b *Bundle) readContent(pb *bundlepb.Bundle) error {
	if msg := pb.GetMessageSignature(); msg != nil {
		if msg.GetMessageDigest().GetAlgorithm() != commonpb.HashAlgorithm_SHA2_256 {
			return capsign.UnsupportedScheme
		}
		b.digest, b.signature = msg.GetMessageDigest().GetDigest(), msg.GetSignature()
		return nil
	}
	envelope := pb.GetDsseEnvelope()
	switch {
	case envelope == nil:
		return capsign.BadRequest
	case envelope.GetPayloadType() != payloadType:
		return capsign.UnsupportedScheme
	case len(envelope.GetSignatures()) != 1: // as many as the bundle's format allows
		return capsign.BadRequest
	}
	statement, err := parseStatement(envelope.GetPayload())
	b.statement, b.payload, b.signature = statement, envelope.GetPayload(), envelope.GetSignatures()[0].GetSig()
	return err
}

// OfStatement reports whether the bundle signs a statement about digests, not a
// file's bytes.
func (b *Bundle) OfStatement() bool { return b.statement != nil }

// KID returns what names the key version: its kid, or the hex SHA-256 of its
// SPKI where cosign has written the bundle.
func (b *Bundle) KID() string {
	if sum, err := base64.StdEncoding.Strict().DecodeString(b.hint); err == nil && len(sum) == digestSize {
		return hex.EncodeToString(sum)
	}
	return b.hint
}

// encode returns the bundle as JSON, always the same bytes for the same bundle.
func (b *Bundle) encode() ([]byte, error) {
	pb := &bundlepb.Bundle{
		MediaType: MediaType,
		VerificationMaterial: &bundlepb.VerificationMaterial{
			Content: &bundlepb.VerificationMaterial_PublicKey{
				PublicKey: &commonpb.PublicKeyIdentifier{Hint: b.hint},
			},
		},
	}
	if b.OfStatement() {
		pb.Content = &bundlepb.Bundle_DsseEnvelope{DsseEnvelope: &dssepb.Envelope{
			Payload: b.payload, PayloadType: payloadType,
			Signatures: []*dssepb.Signature{{Sig: b.signature}},
		}}
	} else {
		pb.Content = &bundlepb.Bundle_MessageSignature{MessageSignature: &commonpb.MessageSignature{
			MessageDigest: &commonpb.HashOutput{Algorithm: commonpb.HashAlgorithm_SHA2_256, Digest: b.digest},
			Signature:     b.signature,
		}}
	}
	data, err := protojson.Marshal(pb)
	if err != nil {
		return nil, fmt.Errorf("bundle: encode: %w", capsign.Internal)
	}
	text := jsontext.Value(data)
	if err := text.Compact(); err != nil { // protojson spaces its output at random
		return nil, fmt.Errorf("bundle: encode: %w", capsign.Internal)
	}
	return text, nil
}
