package awskms

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes of algorithms
	_ "crypto/sha512"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/ecdsasig"
	"github.com/capsign/cap/internal/providers/retry"
)

// backend is what a [capsign.Key] of this package says it is kept in.
const backend = "aws"

// maxRaw is the longest message, in bytes, that the service hashes itself.
const maxRaw = 4096

// algorithm is what the service calls one of capsign's algorithms.
type algorithm struct {
	spec    types.KeySpec // of a generated key
	signing types.SigningAlgorithmSpec
	hash    crypto.Hash // zero: the service takes the message itself
}

// algorithms holds every algorithm that the service can sign with.
var algorithms = map[capsign.Alg]algorithm{
	capsign.Ed25519: {types.KeySpecEccNistEdwards25519, types.SigningAlgorithmSpecEd25519Sha512, 0},
	capsign.ES256:   {types.KeySpecEccNistP256, types.SigningAlgorithmSpecEcdsaSha256, crypto.SHA256},
	capsign.ES384:   {types.KeySpecEccNistP384, types.SigningAlgorithmSpecEcdsaSha384, crypto.SHA384},
	capsign.PS256:   {types.KeySpecRsa3072, types.SigningAlgorithmSpecRsassaPssSha256, crypto.SHA256},
	capsign.RS256:   {types.KeySpecRsa3072, types.SigningAlgorithmSpecRsassaPkcs1V15Sha256, crypto.SHA256},
}

// version is one key version.
type version struct {
	key capsign.Key
	arn string // the key ARN it is pinned to
}

// newVersion makes a version of the service's answer to where its public key is.
func newVersion(ref reference, out *kms.GetPublicKeyOutput, cfg Config) (version, error) {
	arn := aws.ToString(out.KeyId)
	id, ok := ref.accepts(arn)
	if !ok {
		return version{}, fmt.Errorf("awskms: key version: answer by another key: %w", capsign.Integrity)
	}
	public, err := capsign.ParsePublicKey(out.PublicKey)
	if errors.Is(err, capsign.UnsupportedAlg) {
		return version{}, fmt.Errorf("awskms: key version: %w", capsign.UnsupportedAlg)
	}
	if err != nil {
		return version{}, fmt.Errorf("awskms: key version: no public key: %w", capsign.Integrity)
	}
	alg := algOf(public, cfg.Alg)
	if out.KeyUsage != types.KeyUsageTypeSignVerify || !slices.Contains(out.SigningAlgorithms, algorithms[alg].signing) {
		return version{}, fmt.Errorf("awskms: key version: %w", capsign.UnsupportedAlg)
	}
	key, err := capsign.NewKey(alg, out.PublicKey, capsign.ProviderCloudKMS, cfg.KeyName)
	if err != nil {
		return version{}, fmt.Errorf("awskms: key version: %w", capsign.ConfigInvalid)
	}
	key.Class, key.Backend, key.Version = capsign.ClassCloud, backend, id
	return version{key: key, arn: arn}, nil
}

// algOf returns the algorithm of a key that capsign.ParsePublicKey accepts.
// Only an RSA key leaves a choice, which is PS256 unless configured is RS256.
func algOf(public crypto.PublicKey, configured capsign.Alg) capsign.Alg {
	switch public := public.(type) {
	case ed25519.PublicKey:
		return capsign.Ed25519
	case *ecdsa.PublicKey:
		if public.Curve == elliptic.P384() {
			return capsign.ES384
		}
		return capsign.ES256
	}
	if configured == capsign.RS256 {
		return capsign.RS256
	}
	return capsign.PS256
}

// sign has msg signed by the version and checks what the answer says of itself.
func (c *client) sign(ctx context.Context, v version, msg []byte) ([]byte, error) {
	input, err := v.input(msg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := c.bound(ctx)
	defer cancel()
	var sig []byte
	err = c.call(ctx, retry.Default, "sign", func(ctx context.Context) error {
		out, err := c.kms.Sign(ctx, input)
		if err != nil {
			return err
		}
		sig, err = v.signature(out)
		return err
	})
	if err != nil {
		return nil, err
	}
	return sig, nil
}

// input returns the request for a signature of msg.
func (v version) input(msg []byte) (*kms.SignInput, error) {
	alg := algorithms[v.key.Alg]
	input := &kms.SignInput{KeyId: aws.String(v.arn), SigningAlgorithm: alg.signing}
	if alg.hash != 0 {
		hash := alg.hash.New()
		hash.Write(msg)
		input.Message, input.MessageType = hash.Sum(nil), types.MessageTypeDigest
		return input, nil
	}
	switch {
	case len(msg) > maxRaw:
		return nil, fmt.Errorf("awskms: sign: %w", capsign.TooLarge)
	case len(msg) == 0:
		return nil, fmt.Errorf("awskms: sign: empty message: %w", capsign.BadRequest)
	}
	input.Message, input.MessageType = msg, types.MessageTypeRaw
	return input, nil
}

// signature returns the canonical signature in the answer, which must be by the
// pinned key and in its algorithm.
func (v version) signature(out *kms.SignOutput) ([]byte, error) {
	if aws.ToString(out.KeyId) != v.arn || out.SigningAlgorithm != algorithms[v.key.Alg].signing {
		return nil, fmt.Errorf("awskms: sign: answer by another key: %w", capsign.Integrity)
	}
	size := ed25519.SignatureSize
	switch public := v.key.Public().(type) {
	case *ecdsa.PublicKey:
		return ecdsasig.FromDER(public.Curve, out.Signature)
	case *rsa.PublicKey:
		size = public.Size()
	}
	if len(out.Signature) != size {
		return nil, fmt.Errorf("awskms: sign: signature of another size: %w", capsign.Integrity)
	}
	return out.Signature, nil
}

// versions is a set of key versions. It never changes once it is in use.
type versions struct {
	byKID   map[string]version
	kids    []string // oldest first
	current string   // the kid of the version that signs unless another is named
}

// holds reports whether a version is pinned to the key ARN.
func (s *versions) holds(arn string) bool {
	for _, v := range s.byKID {
		if v.arn == arn {
			return true
		}
	}
	return false
}

// with returns the set with further versions in it. One key in two versions
// wraps [capsign.KeyAmbiguous].
func (s *versions) with(found ...version) (*versions, error) {
	more := &versions{byKID: maps.Clone(s.byKID), kids: slices.Clone(s.kids), current: s.current}
	if more.byKID == nil {
		more.byKID = make(map[string]version, len(found))
	}
	for _, v := range found {
		if _, twice := more.byKID[v.key.KID]; twice || more.holds(v.arn) {
			return nil, fmt.Errorf("awskms: one key in two versions: %w", capsign.KeyAmbiguous)
		}
		more.byKID[v.key.KID] = v
		more.kids = append(more.kids, v.key.KID)
	}
	return more, nil
}
