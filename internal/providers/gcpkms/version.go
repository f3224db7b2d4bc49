package gcpkms

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"hash/crc32"
	"strconv"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/ecdsasig"
)

// backend is the name of this backend in a [capsign.Key].
const backend = "gcp"

// maxData is the longest message, in bytes, that KMS signs without hashing it
// before, as Ed25519 is.
const maxData = 64 << 10

// version is one key version, pinned by its full resource name.
type version struct {
	key      capsign.Key
	resource string
	number   int
}

// fetchVersion fetches the public key of the version with this resource name.
// Where it fails its checks, that is [capsign.Integrity].
func fetchVersion(ctx context.Context, op string, c *client, path keyPath, resource string) (version, error) {
	number, ok := path.number(resource)
	if !ok { // KMS named a version of another key
		return version{}, refuse(op, capsign.Integrity)
	}
	answer, err := call(ctx, op, c, func(ctx context.Context, sdk *kms.KeyManagementClient) (*kmspb.PublicKey, error) {
		return sdk.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: resource})
	})
	if errors.Is(err, capsign.Internal) { // an invalid argument: the version has no public key
		return version{}, refuse(op, capsign.UnsupportedAlg)
	}
	if err != nil {
		return version{}, err
	}
	if answer.GetName() != resource || !sumMatches(answer.GetPemCrc32C(), []byte(answer.GetPem())) {
		return version{}, refuse(op, capsign.Integrity)
	}
	alg, ok := algOf(answer.GetAlgorithm())
	if !ok {
		return version{}, refuse(op, capsign.UnsupportedAlg)
	}
	spki, err := canonicalSPKI(answer.GetPem())
	if err != nil {
		return version{}, refuse(op, err)
	}
	key, err := capsign.NewKey(alg, spki, capsign.ProviderCloudKMS, path.name)
	if err != nil { // the key is of another type than its algorithm
		return version{}, refuse(op, capsign.Integrity)
	}
	key.Class, key.Backend, key.Version = capsign.ClassCloud, backend, strconv.Itoa(number)
	return version{key: key, resource: resource, number: number}, nil
}

// algOf returns the algorithm that goes by Google's name of it, and false where
// cap has none that signs and verifies the same.
func algOf(name kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm) (capsign.Alg, bool) {
	switch name {
	case kmspb.CryptoKeyVersion_EC_SIGN_ED25519:
		return capsign.Ed25519, true
	case kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256:
		return capsign.ES256, true
	case kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384:
		return capsign.ES384, true
	case kmspb.CryptoKeyVersion_RSA_SIGN_PSS_3072_SHA256, kmspb.CryptoKeyVersion_RSA_SIGN_PSS_4096_SHA256:
		return capsign.PS256, true
	case kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_3072_SHA256, kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_4096_SHA256:
		return capsign.RS256, true
	}
	return "", false
}

// canonicalSPKI returns the one encoding of the public key in a PEM text.
func canonicalSPKI(text string) ([]byte, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) != 0 {
		return nil, capsign.Integrity
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, capsign.Integrity
	}
	spki, err := capsign.MarshalPublicKey(public)
	if errors.Is(err, capsign.UnsupportedAlg) {
		return nil, capsign.UnsupportedAlg
	}
	if err != nil {
		return nil, capsign.Integrity
	}
	return spki, nil
}

// sign returns the canonical signature of msg.
func (v version) sign(ctx context.Context, c *client, msg []byte) ([]byte, error) {
	if v.key.Alg == capsign.Ed25519 && len(msg) > maxData {
		return nil, refuse("sign", capsign.TooLarge)
	}
	req := v.request(msg)
	answer, err := call(ctx, "sign", c, func(ctx context.Context, sdk *kms.KeyManagementClient) (*kmspb.AsymmetricSignResponse, error) {
		return sdk.AsymmetricSign(ctx, req)
	})
	if err != nil {
		return nil, err
	}
	if !v.answers(req, answer) {
		return nil, refuse("sign", capsign.Integrity)
	}
	switch v.key.Alg {
	case capsign.ES256:
		return ecdsasig.FromDER(elliptic.P256(), answer.GetSignature())
	case capsign.ES384:
		return ecdsasig.FromDER(elliptic.P384(), answer.GetSignature())
	}
	return answer.GetSignature(), nil
}

// request returns what to ask of KMS for msg: the message itself for Ed25519, its
// digest for the others.
func (v version) request(msg []byte) *kmspb.AsymmetricSignRequest {
	req := &kmspb.AsymmetricSignRequest{Name: v.resource}
	switch v.key.Alg {
	case capsign.Ed25519:
		req.Data, req.DataCrc32C = msg, sum(msg)
	case capsign.ES384:
		digest := sha512.Sum384(msg)
		req.Digest = &kmspb.Digest{Digest: &kmspb.Digest_Sha384{Sha384: digest[:]}}
		req.DigestCrc32C = sum(digest[:])
	default:
		digest := sha256.Sum256(msg)
		req.Digest = &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: digest[:]}}
		req.DigestCrc32C = sum(digest[:])
	}
	return req
}

// answers reports whether an answer is this version's, to what was sent, and
// arrived as it was sent.
func (v version) answers(req *kmspb.AsymmetricSignRequest, answer *kmspb.AsymmetricSignResponse) bool {
	received := answer.GetVerifiedDigestCrc32C()
	if req.GetDigest() == nil {
		received = answer.GetVerifiedDataCrc32C()
	}
	return received && answer.GetName() == v.resource && sumMatches(answer.GetSignatureCrc32C(), answer.GetSignature())
}

// sum returns the CRC32C of data, as KMS wants it.
func sum(data []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))))
}

// sumMatches reports whether the checksum is there and data's.
func sumMatches(got *wrapperspb.Int64Value, data []byte) bool {
	return got != nil && got.GetValue() == sum(data).GetValue()
}
