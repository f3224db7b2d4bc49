package gcpkms

import (
	"context"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/fault"
	"github.com/capsign/cap/internal/kmstest/gcp"
	"github.com/capsign/cap/internal/providers"
	"github.com/capsign/cap/internal/providers/providertest"
)

func TestContract(t *testing.T) {
	for name, test := range map[string]struct {
		alg        gcp.Algorithm
		want       capsign.Alg
		max        int
		signatures int
		callers    int
		faults     func(*gcp.Server) []providertest.Fault
	}{
		"Ed25519": {gcp.Ed25519, capsign.Ed25519, 64 << 10, 0, 64, allFaults},
		"ES256":   {gcp.P256, capsign.ES256, 0, 0, 64, answerFaults},
		"ES384":   {gcp.P384, capsign.ES384, 0, 200, 8, answerFaults}, // the server takes a while over these
		"PS256":   {gcp.PSS3072, capsign.PS256, 0, 50, 8, answerFaults},
		"RS256":   {gcp.PKCS3072, capsign.RS256, 0, 50, 8, answerFaults},
	} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, gcp.Options{}, test.alg)
			if test.want != capsign.PS256 && test.want != capsign.RS256 { // of which there is one key
				addVersion(t, server, test.alg)
			}
			cfg := newConfig(server)
			if test.want != capsign.Ed25519 { // which alone has faults that use the time up
				cfg.CallTimeout = 20 * time.Second
			}
			providertest.Run(t, providertest.Config{
				Open:       func(ctx context.Context) (providers.Provider, error) { return orNil(Open(ctx, cfg)) },
				ProviderID: capsign.ProviderCloudKMS,
				KeyName:    cfg.KeyName,
				Alg:        test.want,
				Class:      capsign.ClassCloud,
				Backend:    "gcp",
				MaxMessage: test.max,
				Signatures: test.signatures,
				Callers:    test.callers,
				Faults:     test.faults(server),
				Secrets:    secrets,
			})
		})
	}
}

// orNil keeps a nil *Provider from becoming an interface that is not nil.
func orNil(provider *Provider, err error) (providers.Provider, error) {
	if err != nil {
		return nil, err
	}
	return provider, nil
}

// broken returns a way in which the server breaks.
func broken(server *gcp.Server, name string, f fault.Fault, sign, open capsign.Code) providertest.Fault {
	return providertest.Fault{
		Name:   name,
		Inject: func(*testing.T) { server.Faults.Set(f) },
		Repair: func(*testing.T) { server.Faults.Clear() },
		Sign:   sign,
		Open:   open,
	}
}

// answerFaults are the wrong answers that the server can give.
func answerFaults(server *gcp.Server) []providertest.Fault {
	return []providertest.Fault{
		broken(server, "corrupt signature", fault.Fault{Kind: fault.CorruptSignature}, capsign.Integrity, ""),
		broken(server, "corrupt checksum", fault.Fault{Kind: fault.CorruptChecksum}, capsign.Integrity, capsign.Integrity),
		broken(server, "another version's name", fault.Fault{Kind: fault.CorruptKeyID, Method: "AsymmetricSign"}, capsign.Integrity, ""),
		broken(server, "another version's public key", fault.Fault{Kind: fault.CorruptKeyID, Method: "GetPublicKey"}, "", capsign.Integrity),
		broken(server, "another key's versions", fault.Fault{Kind: fault.CorruptKeyID, Method: "ListCryptoKeyVersions"}, "", capsign.Integrity),
		broken(server, "disabled", fault.Fault{Kind: fault.Error, Code: fault.Disabled}, capsign.KeyDisabled, capsign.KeyDisabled),
	}
}

// allFaults are all the ways in which the server breaks.
func allFaults(server *gcp.Server) []providertest.Fault {
	out := answerFaults(server)
	for code, want := range map[fault.Code]capsign.Code{
		fault.NotFound:         capsign.KeyUnknown,
		fault.PermissionDenied: capsign.ProviderDenied,
		fault.Unauthenticated:  capsign.CredentialsInvalid,
		fault.Throttled:        capsign.Throttled,
		fault.Unavailable:      capsign.ProviderUnavailable,
		fault.Internal:         capsign.ProviderUnavailable,
		fault.Unimplemented:    capsign.UnsupportedAlg,
		fault.DeadlineExceeded: capsign.ProviderTimeout,
	} {
		out = append(out, broken(server, string(code), fault.Fault{Kind: fault.Error, Code: code}, want, want))
	}
	hang := broken(server, "hang", fault.Fault{Kind: fault.Hang}, capsign.ProviderTimeout, capsign.ProviderTimeout)
	drop := broken(server, "connections drop", fault.Fault{Kind: fault.DropConnection}, capsign.ProviderUnavailable, capsign.ProviderUnavailable)
	hang.Recovery, drop.Recovery = 3*time.Second, 3*time.Second
	return append(out, hang, drop,
		broken(server, "throttled for an hour", fault.Fault{Kind: fault.Error, Code: fault.Throttled, RetryAfter: time.Hour}, capsign.Throttled, capsign.Throttled),
		broken(server, "invalid argument", fault.Fault{Kind: fault.Error, Code: fault.InvalidArgument, Method: "AsymmetricSign"}, capsign.Internal, ""),
		broken(server, "no public key", fault.Fault{Kind: fault.Error, Code: fault.InvalidArgument, Method: "GetPublicKey"}, "", capsign.UnsupportedAlg),
		broken(server, "slow", fault.Fault{Kind: fault.Delay, Delay: 50 * time.Millisecond}, "", ""))
}
