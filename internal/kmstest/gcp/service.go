package gcp

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"hash/crc32"
	"strconv"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/capsign/cap/internal/kmstest/fault"
)

// maxData is the most data, in bytes, that AsymmetricSign takes.
const maxData = 64 << 10

// service is the API over a server's keys. Faults that change an answer come in
// through the context.
type service struct {
	kmspb.UnimplementedKeyManagementServiceServer
	server *Server
}

// GetPublicKey returns an enabled version's public key as PEM.
func (s service) GetPublicKey(ctx context.Context, req *kmspb.GetPublicKeyRequest) (*kmspb.PublicKey, error) {
	v, err := s.enabled(req.GetName())
	if err != nil {
		return nil, err
	}
	if format := req.GetPublicKeyFormat(); format != 0 && format != kmspb.PublicKey_PEM {
		return nil, status.Errorf(codes.InvalidArgument, "public_key_format %v is not supported for %s", format, v.name)
	}
	private, err := s.privateKey(ctx, v)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
	return &kmspb.PublicKey{
		Pem:             string(text),
		PemCrc32C:       checksum(text),
		Algorithm:       v.alg,
		Name:            v.name,
		ProtectionLevel: kmspb.ProtectionLevel_SOFTWARE,
	}, nil
}

// AsymmetricSign signs a digest, or for Ed25519 data, with an enabled version.
func (s service) AsymmetricSign(ctx context.Context, req *kmspb.AsymmetricSignRequest) (*kmspb.AsymmetricSignResponse, error) {
	v, err := s.enabled(req.GetName())
	if err != nil {
		return nil, err
	}
	private, err := s.privateKey(ctx, v)
	if err != nil {
		return nil, err
	}
	input, opts, err := toSign(v.alg, req)
	if err != nil {
		return nil, err
	}
	if sum := cmp.Or(req.GetDataCrc32C(), req.GetDigestCrc32C()); sum != nil && sum.GetValue() != checksum(input).GetValue() {
		return nil, status.Error(codes.InvalidArgument, "checksum in the request does not match its field")
	}
	sig, err := private.Sign(rand.Reader, input, opts)
	if err != nil {
		return nil, err
	}
	return &kmspb.AsymmetricSignResponse{
		Signature:            sig,
		SignatureCrc32C:      checksum(sig),
		VerifiedDataCrc32C:   req.GetDataCrc32C() != nil,
		VerifiedDigestCrc32C: req.GetDigestCrc32C() != nil,
		Name:                 v.name,
		ProtectionLevel:      kmspb.ProtectionLevel_SOFTWARE,
	}, nil
}

// ListCryptoKeyVersions lists a key's versions page by page. Of filters it
// knows state=ENABLED.
func (s service) ListCryptoKeyVersions(_ context.Context, req *kmspb.ListCryptoKeyVersionsRequest) (*kmspb.ListCryptoKeyVersionsResponse, error) {
	versions, err := s.server.keys.list(req.GetParent())
	if err != nil {
		return nil, err
	}
	var listed []*kmspb.CryptoKeyVersion
	for _, v := range versions {
		switch req.GetFilter() {
		case "":
		case "state=ENABLED":
			if v.GetState() != enabled {
				continue
			}
		default:
			return nil, status.Errorf(codes.InvalidArgument, "invalid filter %q", req.GetFilter())
		}
		listed = append(listed, v)
	}
	from := 0
	if token := req.GetPageToken(); token != "" {
		if from, err = strconv.Atoi(token); err != nil || from < 0 || from > len(listed) {
			return nil, status.Errorf(codes.InvalidArgument, "invalid page token %q", token)
		}
	}
	to := min(len(listed), from+cmp.Or(int(max(0, req.GetPageSize())), 100))
	out := &kmspb.ListCryptoKeyVersionsResponse{CryptoKeyVersions: listed[from:to], TotalSize: int32(len(listed))}
	if to < len(listed) {
		out.NextPageToken = strconv.Itoa(to)
	}
	return out, nil
}

// CreateCryptoKeyVersion makes a further version of a key.
func (s service) CreateCryptoKeyVersion(_ context.Context, req *kmspb.CreateCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	return s.server.keys.create(req.GetParent())
}

// GetCryptoKeyVersion returns a version in any state.
func (s service) GetCryptoKeyVersion(_ context.Context, req *kmspb.GetCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	v, err := s.server.keys.get(req.GetName())
	if err != nil {
		return nil, err
	}
	return v.proto(), nil
}

// enabled returns the version with this resource name if it may be used.
func (s service) enabled(name string) (version, error) {
	v, err := s.server.keys.get(name)
	if err != nil {
		return version{}, err
	}
	if state := v.stateNow(); state != enabled {
		return version{}, status.Errorf(codes.FailedPrecondition, "%s is not enabled, current state is: %v.", name, state)
	}
	return v, nil
}

// privateKey returns a version's private key, or a stranger's where that is the
// fault.
func (s service) privateKey(ctx context.Context, v version) (crypto.Signer, error) {
	if faultOf(ctx).Kind == fault.WrongKey {
		return s.server.keys.stranger(v.alg)
	}
	return v.private, nil
}

// toSign returns what the request wants signed, if that suits the algorithm.
func toSign(alg Algorithm, req *kmspb.AsymmetricSignRequest) ([]byte, crypto.SignerOpts, error) {
	if alg == Ed25519 {
		if req.GetDigest() != nil {
			return nil, nil, status.Error(codes.InvalidArgument, "digest is not supported for this algorithm")
		}
		if len(req.GetData()) > maxData {
			return nil, nil, status.Error(codes.InvalidArgument, "data exceeds the maximum length of 65536 bytes")
		}
		return req.GetData(), crypto.Hash(0), nil
	}
	if req.GetData() != nil {
		return nil, nil, status.Error(codes.InvalidArgument, "data is not supported for this algorithm")
	}
	hash, digest := crypto.SHA256, req.GetDigest().GetSha256()
	if alg == P384 {
		hash, digest = crypto.SHA384, req.GetDigest().GetSha384()
	}
	if len(digest) != hash.Size() {
		return nil, nil, status.Error(codes.InvalidArgument, "digest does not fit the algorithm")
	}
	if alg == PSS3072 {
		return digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}, nil
	}
	return digest, hash, nil
}

// checksum returns the CRC32C that the API sends along.
func checksum(data []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))))
}

// notFound is the error for a resource that is not there.
func notFound(kind, name string) error {
	return status.Errorf(codes.NotFound, "%s %s not found.", kind, name)
}
