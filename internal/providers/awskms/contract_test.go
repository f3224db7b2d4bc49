package awskms

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"sync"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/aws"
	"github.com/capsign/cap/internal/kmstest/fault"
	"github.com/capsign/cap/internal/providers"
	"github.com/capsign/cap/internal/providers/providertest"
)

// rsaKeys are made once: they take their time.
var rsaKeys = sync.OnceValues(func() ([]crypto.Signer, error) {
	var keys []crypto.Signer
	for range 2 {
		key, err := rsa.GenerateKey(rand.Reader, 3072)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
})

// twoKeys returns private keys of the spec.
func twoKeys(t *testing.T, spec string) []crypto.Signer {
	t.Helper()
	switch spec {
	case aws.RSA3072:
		keys, err := rsaKeys()
		must(t, err)
		return keys
	case aws.Ed25519:
		var keys []crypto.Signer
		for range 2 {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			must(t, err)
			keys = append(keys, key)
		}
		return keys
	}
	return []crypto.Signer{nil, nil}
}

func TestContract(t *testing.T) {
	for _, test := range []struct {
		alg    capsign.Alg
		spec   string
		within time.Duration // of a call: the server's keys cost what they cost
	}{
		{capsign.Ed25519, aws.Ed25519, 2 * time.Second},
		{capsign.ES256, aws.P256, 15 * time.Second},
		{capsign.ES384, aws.P384, 15 * time.Second},
		{capsign.PS256, aws.RSA3072, 15 * time.Second},
		{capsign.RS256, aws.RSA3072, 15 * time.Second},
	} {
		t.Run(string(test.alg), func(t *testing.T) {
			server := newServer(t, aws.Options{})
			keys := twoKeys(t, test.spec)
			first := addKey(t, server, testAlias, test.spec, keys[0])
			current := addKey(t, server, testAlias+"-2", test.spec, keys[1])
			cfg := configFor(server, testAlias)
			cfg.Alg, cfg.CallTimeout = test.alg, test.within
			suite := providertest.Config{
				Open:       func(ctx context.Context) (providers.Provider, error) { return Open(ctx, cfg) },
				ProviderID: capsign.ProviderCloudKMS,
				KeyName:    testKeyName,
				Alg:        test.alg,
				Class:      capsign.ClassCloud,
				Backend:    "aws",
				Signatures: 200,
				Secrets: []string{current, "111122223333", "arn:", "127.0.0.1", "alias", "Exception", "operation error", "KMS",
					"https", "smithy", "x509", "dial", "deadline", cfg.CAFile},
			}
			if test.alg == capsign.Ed25519 {
				suite.MinMessage, suite.MaxMessage, suite.Signatures = 1, 4096, 1000
				suite.Faults = faultsOf(server, first, current, test.within) // which are the same for all
			}
			providertest.Run(t, suite)
		})
	}
}

// faultsOf are the ways in which a server breaks.
func faultsOf(server *aws.Server, first, current string, within time.Duration) []providertest.Fault {
	scripted := func(f fault.Fault) func(*testing.T) {
		return func(*testing.T) { server.Faults.Set(f) }
	}
	mend := func(*testing.T) { server.Faults.Clear() }
	both := func(name string, f fault.Fault, code capsign.Code) providertest.Fault {
		return providertest.Fault{Name: name, Inject: scripted(f), Repair: mend, Sign: code, Open: code}
	}
	failing := func(name string, code fault.Code, want capsign.Code) providertest.Fault {
		return both(name, fault.Fault{Kind: fault.Error, Code: code}, want)
	}
	enable := func(t *testing.T) { must(t, server.Enable(current)) }
	present := func(certificate tls.Certificate) func(*testing.T) {
		return func(t *testing.T) {
			server.Stop()
			server.Present(certificate)
			must(t, server.Start())
		}
	}
	faults := []providertest.Fault{
		failing("KeyGone", fault.NotFound, capsign.KeyUnknown),
		failing("Denied", fault.PermissionDenied, capsign.ProviderDenied),
		failing("TokenExpired", fault.Unauthenticated, capsign.CredentialsInvalid),
		failing("SignatureWrong", "InvalidSignatureException", capsign.CredentialsInvalid),
		failing("ClientUnknown", "UnrecognizedClientException", capsign.CredentialsInvalid),
		failing("Throttled", fault.Throttled, capsign.Throttled),
		failing("ProxyAnswers503", fault.Unavailable, capsign.ProviderUnavailable),
		failing("ServiceFails", fault.Internal, capsign.ProviderUnavailable),
		failing("RequestComesBack", fault.InvalidArgument, capsign.UnsupportedAlg),
		failing("Unsupported", fault.Unimplemented, capsign.UnsupportedAlg),
		failing("NeverHeardOf", "SurpriseException", capsign.Internal),
		both("AnswerIsCutOff", fault.Fault{Kind: fault.DropConnection}, capsign.ProviderUnavailable),
		{Name: "AnswerByAnotherKey", Inject: scripted(fault.Fault{Kind: fault.CorruptKeyID, Method: "Sign"}), Repair: mend,
			Sign: capsign.Integrity},
		{Name: "OneFailureThenFine", Inject: scripted(fault.Fault{Kind: fault.Error, Code: fault.Unavailable, Times: 1}), Repair: mend},
		{Name: "OneThrottledThenFine", Inject: scripted(fault.Fault{Kind: fault.Error, Code: fault.Throttled, Times: 1}), Repair: mend},
		{Name: "OneCutOffThenFine", Inject: scripted(fault.Fault{Kind: fault.DropConnection, Times: 1}), Repair: mend},
		{Name: "SlowButInTime", Inject: scripted(fault.Fault{Kind: fault.Delay, Delay: 20 * time.Millisecond}), Repair: mend},
		{Name: "CurrentDisabled", Inject: func(t *testing.T) { must(t, server.Disable(current)) }, Repair: enable,
			Sign: capsign.KeyDisabled, Open: capsign.KeyDisabled},
		{Name: "CurrentToBeDeleted", Inject: func(t *testing.T) { must(t, server.ScheduleDeletion(current)) }, Repair: enable,
			Sign: capsign.KeyDisabled, Open: capsign.KeyDisabled},
		{Name: "CurrentUsedForOtherThings", Inject: func(t *testing.T) { must(t, server.Use(current, "KEY_AGREEMENT")) },
			Repair: func(t *testing.T) { must(t, server.Use(current, "SIGN_VERIFY")) }, Sign: capsign.UnsupportedAlg, Open: capsign.UnsupportedAlg},
		{Name: "AliasMoved", Inject: func(*testing.T) { server.Point(testAlias, current) },
			Repair: func(*testing.T) { server.Point(testAlias, first) }, Open: capsign.KeyAmbiguous},
		{Name: "ServiceGone", Inject: func(*testing.T) { server.Stop() }, Repair: present(server.Certificates().Server),
			Sign: capsign.ProviderUnavailable, Open: capsign.ProviderUnavailable},
		{Name: "CertificateUntrusted", Inject: present(server.Certificates().Untrusted), Repair: present(server.Certificates().Server),
			Sign: capsign.TLSUntrusted, Open: capsign.TLSUntrusted},
		{Name: "CertificateOfAnotherHost", Inject: present(server.Certificates().Misnamed), Repair: present(server.Certificates().Server),
			Sign: capsign.TLSUntrusted, Open: capsign.TLSUntrusted},
	}
	if within < time.Second { // for the algorithms that need little time
		faults = append(faults,
			both("Hangs", fault.Fault{Kind: fault.Hang}, capsign.ProviderTimeout),
			providertest.Fault{Name: "IsTooSlow", Inject: scripted(fault.Fault{Kind: fault.Delay, Delay: time.Minute, Method: "Sign"}),
				Repair: mend, Sign: capsign.ProviderTimeout})
	}
	return faults
}
