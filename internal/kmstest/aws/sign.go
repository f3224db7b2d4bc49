package aws

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes of algorithms
	_ "crypto/sha512"
	"slices"
	"strings"

	"github.com/capsign/cap/internal/kmstest/fault"
)

// maxMessage is the longest message of a request for a signature, in bytes.
const maxMessage = 4096

// The signing algorithms of each kind of key.
var (
	ed25519Algorithms = []string{"ED25519_SHA_512", "ED25519_PH_SHA_512"}
	rsaAlgorithms     = []string{"RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512",
		"RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512"}
)

// algorithmsOf returns the signing algorithms of a spec.
func algorithmsOf(spec string) []string {
	switch spec {
	case Ed25519:
		return ed25519Algorithms
	case P256:
		return []string{"ECDSA_SHA_256"}
	case P384:
		return []string{"ECDSA_SHA_384"}
	case P521:
		return []string{"ECDSA_SHA_512"}
	}
	return rsaAlgorithms
}

// hashOf returns the hash in an algorithm's name.
func hashOf(algorithm string) crypto.Hash {
	switch {
	case strings.HasSuffix(algorithm, "256"):
		return crypto.SHA256
	case strings.HasSuffix(algorithm, "384"):
		return crypto.SHA384
	}
	return crypto.SHA512
}

// signRequest is a request for a signature.
type signRequest struct {
	KeyId            string //nolint:revive // the service's own spelling
	Message          []byte
	MessageType      string
	SigningAlgorithm string
}

// sign signs a message or a digest.
func (s *Server) sign(body []byte, broken fault.Kind) (any, error) {
	var in signRequest
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	if len(in.Message) < 1 || len(in.Message) > maxMessage { // and the message comes back
		return nil, failure("ValidationException", "1 validation error detected: Value '"+string(in.Message)+
			"' at 'message' failed to satisfy constraint: Member must have length less than or equal to 4096")
	}
	s.mu.Lock()
	k, err := s.ready(in.KeyId)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	arn, private, spec, usage := s.answerAs(k, broken), k.private, k.spec, k.usage
	s.mu.Unlock()
	if usage != "SIGN_VERIFY" {
		return nil, failure("InvalidKeyUsageException", arn+" key usage is "+usage)
	}
	if !slices.Contains(algorithmsOf(spec), in.SigningAlgorithm) {
		return nil, failure("InvalidKeyUsageException", "Algorithm "+in.SigningAlgorithm+" is incompatible with key spec "+spec)
	}
	if broken == fault.WrongKey {
		if private, err = newPrivateKey(spec); err != nil {
			return nil, err
		}
	}
	sig, err := in.signature(private)
	if err != nil {
		return nil, err
	}
	if broken == fault.CorruptSignature {
		sig[len(sig)-1] ^= 1
	}
	return struct {
		KeyId            string //nolint:revive // the service's own spelling
		Signature        []byte
		SigningAlgorithm string
	}{arn, sig, in.SigningAlgorithm}, nil
}

// signature returns the signature that the request asks for.
func (in signRequest) signature(private crypto.Signer) ([]byte, error) {
	if ed, ok := private.(ed25519.PrivateKey); ok {
		if in.SigningAlgorithm != "ED25519_SHA_512" || in.MessageType == "DIGEST" {
			return nil, failure("ValidationException", in.SigningAlgorithm+" does not take the message type "+in.MessageType)
		}
		return ed25519.Sign(ed, in.Message), nil
	}
	hash := hashOf(in.SigningAlgorithm)
	digest := in.Message
	switch in.MessageType {
	case "DIGEST":
		if len(digest) != hash.Size() {
			return nil, failure("ValidationException", "Digest is invalid length for algorithm "+in.SigningAlgorithm)
		}
	case "", "RAW":
		hashed := hash.New()
		hashed.Write(in.Message)
		digest = hashed.Sum(nil)
	default:
		return nil, failure("ValidationException", "Value '"+in.MessageType+"' at 'messageType' failed to satisfy constraint")
	}
	var options crypto.SignerOpts = hash
	if strings.HasPrefix(in.SigningAlgorithm, "RSASSA_PSS") {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	return private.Sign(rand.Reader, digest, options)
}
