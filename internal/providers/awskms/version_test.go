package awskms

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/aws"
)

// What an answer says of itself must be what was asked for.
func TestAnswersThatAreNotTheKeysAreRefused(t *testing.T) {
	server := newServer(t, aws.Options{})
	keys, err := rsaKeys()
	must(t, err)
	for spec, alg := range map[string]capsign.Alg{aws.Ed25519: capsign.Ed25519, aws.P256: capsign.ES256, aws.RSA3072: capsign.PS256} {
		var provider *Provider
		if spec == aws.RSA3072 {
			provider = open(t, configFor(server, addKey(t, server, "", spec, keys[0])))
		} else {
			provider = open(t, configFor(server, addKey(t, server, "", spec, nil)))
		}
		held := provider.held.Load()
		v := held.byKID[held.current]
		sig, err := provider.Sign(t.Context(), "", []byte("a message"))
		must(t, err)
		for name, spoil := range map[string]func(*kms.SignOutput){
			"no key id":                 func(o *kms.SignOutput) { o.KeyId = nil },
			"a bare key id":             func(o *kms.SignOutput) { o.KeyId = sdk.String(keyID(v.arn)) },
			"another region's ARN":      func(o *kms.SignOutput) { o.KeyId = sdk.String(strings.Replace(v.arn, "eu-central", "eu-west", 1)) },
			"another algorithm":         func(o *kms.SignOutput) { o.SigningAlgorithm = types.SigningAlgorithmSpecSm2dsa },
			"no algorithm":              func(o *kms.SignOutput) { o.SigningAlgorithm = "" },
			"no signature":              func(o *kms.SignOutput) { o.Signature = nil },
			"a signature that goes on":  func(o *kms.SignOutput) { o.Signature = append(bytes.Clone(o.Signature), 0) },
			"a signature that is short": func(o *kms.SignOutput) { o.Signature = o.Signature[:len(o.Signature)-1] },
		} {
			out := &kms.SignOutput{KeyId: sdk.String(v.arn), Signature: sig.Bytes, SigningAlgorithm: algorithms[alg].signing}
			if _, err := v.signature(out); err != nil {
				t.Errorf("%s: %v", alg, err)
			}
			spoil(out)
			got, err := v.signature(out)
			mustWrap(t, string(alg)+" with "+name, err, capsign.Integrity)
			if got != nil {
				t.Errorf("%s with %s: a signature beside the error", alg, name)
			}
		}
	}
}

// A public key that is no canonical one is none.
func TestPublicKeysThatAreNoneAreRefused(t *testing.T) {
	server := newServer(t, aws.Options{})
	arn := addKey(t, server, testAlias, aws.P256, nil)
	provider := open(t, configFor(server, testAlias))
	ref, cfg := provider.client.ref, provider.client.cfg
	spki := provider.held.Load().byKID[provider.held.Load().current].key.SPKI
	answer := func() *kms.GetPublicKeyOutput {
		return &kms.GetPublicKeyOutput{KeyId: sdk.String(arn), PublicKey: spki, KeyUsage: types.KeyUsageTypeSignVerify,
			SigningAlgorithms: []types.SigningAlgorithmSpec{types.SigningAlgorithmSpecEcdsaSha256}}
	}
	_, err := newVersion(ref, answer(), cfg)
	must(t, err)
	for name, test := range map[string]struct {
		spoil func(*kms.GetPublicKeyOutput)
		want  capsign.Code
	}{
		"nothing":          {func(o *kms.GetPublicKeyOutput) { o.PublicKey = nil }, capsign.Integrity},
		"a byte more":      {func(o *kms.GetPublicKeyOutput) { o.PublicKey = append(bytes.Clone(spki), 0) }, capsign.Integrity},
		"a bare id":        {func(o *kms.GetPublicKeyOutput) { o.KeyId = sdk.String(keyID(arn)) }, capsign.Integrity},
		"an alias":         {func(o *kms.GetPublicKeyOutput) { o.KeyId = sdk.String(aliasARN(arn, testAlias)) }, capsign.Integrity},
		"no key":           {func(o *kms.GetPublicKeyOutput) { o.KeyId = nil }, capsign.Integrity},
		"another usage":    {func(o *kms.GetPublicKeyOutput) { o.KeyUsage = types.KeyUsageTypeKeyAgreement }, capsign.UnsupportedAlg},
		"other algorithms": {func(o *kms.GetPublicKeyOutput) { o.SigningAlgorithms = o.SigningAlgorithms[:0] }, capsign.UnsupportedAlg},
	} {
		out := answer()
		test.spoil(out)
		_, err := newVersion(ref, out, cfg)
		mustWrap(t, "newVersion with "+name, err, test.want)
	}
	elsewhere, err := parseReference("arn:aws:kms:eu-central-1:999999999999:" + testAlias)
	must(t, err)
	_, err = newVersion(elsewhere, answer(), cfg)
	mustWrap(t, "newVersion of another account's", err, capsign.Integrity)
}

func TestErrorsOfTheSDKBecomeCodes(t *testing.T) {
	status := func(code int, err error) error {
		return &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: code}}, Err: err}
	}
	api := func(code string) error { return &smithy.GenericAPIError{Code: code, Message: "arn:aws:kms"} }
	for _, test := range []struct {
		err  error
		want capsign.Code
	}{
		{status(400, api("ThrottlingException")), capsign.Throttled},
		{status(500, api("AccessDeniedException")), capsign.ProviderDenied}, // the code comes before the status
		{status(503, errors.New("html")), capsign.ProviderUnavailable},
		{status(500, api("Surprise")), capsign.ProviderUnavailable},
		{status(400, api("Surprise")), capsign.Internal},
		{status(401, errors.New("proxy")), capsign.CredentialsInvalid},
		{status(403, errors.New("proxy")), capsign.ProviderDenied},
		{status(429, errors.New("proxy")), capsign.Throttled},
		{status(302, errors.New("proxy")), capsign.ProviderUnavailable},
		{status(200, &smithy.DeserializationError{Err: io.ErrUnexpectedEOF}), capsign.ProviderUnavailable},
		{status(503, context.DeadlineExceeded), capsign.ProviderUnavailable}, // the status comes before the end
		{&smithy.CanceledError{Err: context.DeadlineExceeded}, capsign.ProviderTimeout},
		{&smithyhttp.RequestSendError{Err: context.Canceled}, capsign.ProviderTimeout},
		{&smithyhttp.RequestSendError{Err: &tls.CertificateVerificationError{}}, capsign.TLSUntrusted},
		{&smithyhttp.RequestSendError{Err: io.EOF}, capsign.ProviderUnavailable},
		{&smithy.SerializationError{Err: io.EOF}, capsign.Internal},
		{fmt.Errorf("get identity: %w", fmt.Errorf("x: %w: %w", capsign.CredentialsInvalid, api("ThrottlingException"))), capsign.CredentialsInvalid},
	} {
		wrapped := &smithy.OperationError{ServiceID: "KMS", OperationName: "Sign", Err: test.err}
		got := codeOf(wrapped)
		mustWrap(t, wrapped.Error(), got, test.want)
		if got.Error() != string(test.want) {
			t.Errorf("%v became %q", wrapped, got)
		}
	}
}

// TLS below 1.2 is not spoken.
func TestOldTLSIsRefused(t *testing.T) {
	server := newServer(t, aws.Options{})
	var answered atomic.Bool
	old := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { answered.Store(true) }))
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
		Certificates: []tls.Certificate{server.Certificates().Server}}
	old.StartTLS()
	t.Cleanup(old.Close)
	cfg := configFor(server, testAlias)
	cfg.Endpoint = old.URL
	_, err := Open(t.Context(), cfg)
	mustWrap(t, "Open", err, capsign.ProviderUnavailable)
	if answered.Load() {
		t.Error("a request went over old TLS")
	}
}
