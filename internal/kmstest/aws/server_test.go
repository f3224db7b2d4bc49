package aws_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capsign/cap/internal/kmstest/aws"
	"github.com/capsign/cap/internal/kmstest/fault"
)

// newServer starts a server that the test stops.
func newServer(t *testing.T, options aws.Options) *aws.Server {
	t.Helper()
	server, err := aws.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// addKey adds a key under the alias.
func addKey(t *testing.T, server *aws.Server, alias, spec string) string {
	t.Helper()
	arn, err := server.AddKey(alias, spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	return arn
}

// asked is a request's body.
type asked map[string]any

// answered is what came back, the error's type among it.
type answered struct {
	status, proto int
	Type          string `json:"__type"`
	Message       string `json:"message"`
	KeyId         string //nolint:revive // the service's own spelling
	Signature     []byte
	KeyMetadata   struct{ Arn, KeyState string }
	Aliases       []struct{ AliasName string }
}

// call sends a request as a client of the service's does, with a signature of
// the right form; spoil, where not nil, changes it.
func call(t *testing.T, server *aws.Server, operation string, in asked, spoil func(*http.Request)) answered {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.Endpoint()+"/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Format("20060102T150405Z")
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	request.Header.Set("X-Amz-Target", "TrentService."+operation)
	request.Header.Set("X-Amz-Date", now)
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"+now[:8]+"/"+server.Region()+
		"/kms/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature="+strings.Repeat("0a", 32))
	if spoil != nil {
		spoil(request)
	}
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: server.Certificates().Pool, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	out := answered{status: response.StatusCode, proto: response.ProtoMajor}
	content, err := io.ReadAll(response.Body)
	if err != nil || response.Header.Get("X-Amzn-Requestid") == "" {
		t.Fatalf("%s: %v, headers %v", operation, err, response.Header)
	}
	if err := json.Unmarshal(content, &out); err != nil {
		t.Fatalf("%s: %v: %s", operation, err, content)
	}
	return out
}

func TestAnswersGoByTheKeyARN(t *testing.T) {
	server := newServer(t, aws.Options{})
	arn := addKey(t, server, "alias/a", aws.P256)
	id := arn[len(arn)-36:]
	aliasARN := strings.TrimSuffix(arn, "key/"+id) + "alias/a"
	digest := make([]byte, 32)
	for _, key := range []string{arn, id, "alias/a", aliasARN} {
		if out := call(t, server, "GetPublicKey", asked{"KeyId": key}, nil); out.KeyId != arn {
			t.Errorf("GetPublicKey of %s: %+v", key, out)
		}
		in := asked{"KeyId": key, "Message": digest, "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}
		if out := call(t, server, "Sign", in, nil); out.KeyId != arn || len(out.Signature) < 60 {
			t.Errorf("Sign by %s: %+v", key, out)
		}
	}
}

func TestRequestsAreRefusedAsByAWS(t *testing.T) {
	server := newServer(t, aws.Options{AccessKey: "AKIDEXAMPLE"})
	p256, ed := addKey(t, server, "alias/p256", aws.P256), addKey(t, server, "alias/ed", aws.Ed25519)
	off, going := addKey(t, server, "", aws.P256), addKey(t, server, "", aws.P256)
	if err := server.Disable(off); err != nil {
		t.Fatal(err)
	}
	if out := call(t, server, "ScheduleKeyDeletion", asked{"KeyId": going}, nil); out.status != http.StatusOK {
		t.Fatalf("ScheduleKeyDeletion: %+v", out)
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	sign := func(key string, size int, kind, algorithm string) asked {
		return asked{"KeyId": key, "Message": make([]byte, size), "MessageType": kind, "SigningAlgorithm": algorithm}
	}
	const ecdsa, pure, prehashed = "ECDSA_SHA_256", "ED25519_SHA_512", "ED25519_PH_SHA_512"
	for name, test := range map[string]struct {
		operation string
		in        asked
		spoil     func(*http.Request)
		want      string
	}{
		"not signed":              {"GetPublicKey", asked{"KeyId": p256}, func(r *http.Request) { r.Header.Del("Authorization") }, "MissingAuthenticationTokenException"},
		"signed otherwise":        {"GetPublicKey", asked{"KeyId": p256}, header("Authorization", "Bearer x"), "IncompleteSignatureException"},
		"signed long ago":         {"GetPublicKey", asked{"KeyId": p256}, header("X-Amz-Date", "20200101T000000Z"), "InvalidSignatureException"},
		"expired":                 {"GetPublicKey", asked{"KeyId": p256}, header("X-Amz-Security-Token", "expired"), "ExpiredTokenException"},
		"no such key":             {"GetPublicKey", asked{"KeyId": "00000000-0000-4000-8000-000000000000"}, nil, "NotFoundException"},
		"no such alias":           {"GetPublicKey", asked{"KeyId": "alias/x"}, nil, "NotFoundException"},
		"another account":         {"GetPublicKey", asked{"KeyId": strings.Replace(p256, "1111", "9999", 1)}, nil, "NotFoundException"},
		"disabled":                {"GetPublicKey", asked{"KeyId": off}, nil, "DisabledException"},
		"disabled too":            {"Sign", sign(off, 32, "DIGEST", ecdsa), nil, "DisabledException"},
		"to be deleted":           {"Sign", sign(going, 32, "DIGEST", ecdsa), nil, "KMSInvalidStateException"},
		"a short digest":          {"Sign", sign(p256, 31, "DIGEST", ecdsa), nil, "ValidationException"},
		"another algorithm":       {"Sign", sign(p256, 32, "DIGEST", pure), nil, "InvalidKeyUsageException"},
		"nothing":                 {"Sign", sign(ed, 0, "RAW", pure), nil, "ValidationException"},
		"too much":                {"Sign", sign(ed, 4097, "RAW", pure), nil, "ValidationException"},
		"a digest for Ed25519":    {"Sign", sign(ed, 64, "DIGEST", pure), nil, "ValidationException"},
		"a message for Ed25519ph": {"Sign", sign(ed, 64, "RAW", prehashed), nil, "ValidationException"},
		"an alias that is there":  {"CreateAlias", asked{"AliasName": "alias/ed", "TargetKeyId": p256}, nil, "AlreadyExistsException"},
		"an alias that is not":    {"UpdateAlias", asked{"AliasName": "alias/x", "TargetKeyId": p256}, nil, "NotFoundException"},
		"an operation it lacks":   {"Encrypt", asked{"KeyId": p256}, nil, "UnknownOperationException"},
	} {
		if out := call(t, server, test.operation, test.in, test.spoil); out.Type != test.want || out.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s: %s; want %s", name, out.status, out.Type, out.Message, test.want)
		}
	}
	if out := call(t, server, "Sign", sign(ed, 4096, "RAW", pure), nil); len(out.Signature) != 64 {
		t.Errorf("Sign of 4096 bytes: %+v", out)
	}
}

func TestKeysAreMadeAndNamed(t *testing.T) {
	server := newServer(t, aws.Options{Lag: 1, HTTP1: true})
	made := call(t, server, "CreateKey", asked{"KeySpec": aws.Ed25519, "KeyUsage": "SIGN_VERIFY"}, nil)
	alias := asked{"AliasName": "alias/new", "TargetKeyId": made.KeyMetadata.Arn}
	if out := call(t, server, "CreateAlias", alias, nil); out.Type != "NotFoundException" {
		t.Errorf("CreateAlias at once: %+v", out)
	}
	if out := call(t, server, "CreateAlias", alias, nil); out.status != http.StatusOK || out.proto != 1 {
		t.Errorf("CreateAlias: %+v", out)
	}
	other := addKey(t, server, "", aws.P384)
	if out := call(t, server, "UpdateAlias", asked{"AliasName": "alias/new", "TargetKeyId": other}, nil); out.status != http.StatusOK {
		t.Errorf("UpdateAlias: %+v", out)
	}
	if out := call(t, server, "DisableKey", asked{"KeyId": other}, nil); out.status != http.StatusOK {
		t.Errorf("DisableKey: %+v", out)
	}
	if out := call(t, server, "DescribeKey", asked{"KeyId": "alias/new"}, nil); out.KeyMetadata.Arn != other || out.KeyMetadata.KeyState != "Disabled" {
		t.Errorf("DescribeKey: %+v", out)
	}
	out := call(t, server, "ListAliases", asked{}, nil)
	if !slices.Equal(out.Aliases, []struct{ AliasName string }{{"alias/new"}}) {
		t.Errorf("ListAliases: %+v", out)
	}
}

func TestInjectedFaultsLookLikeTheVendors(t *testing.T) {
	server := newServer(t, aws.Options{})
	addKey(t, server, "alias/a", aws.P256)
	for code, want := range map[fault.Code]answered{
		fault.Throttled:        {status: 400, Type: "ThrottlingException"},
		fault.PermissionDenied: {status: 400, Type: "AccessDeniedException"},
		fault.Internal:         {status: 500, Type: "KMSInternalException"},
		fault.DeadlineExceeded: {status: 503, Type: "DependencyTimeoutException"},
		"SomethingElse":        {status: 400, Type: "SomethingElse"},
	} {
		server.Faults.Set(fault.Fault{Kind: fault.Error, Code: code})
		if out := call(t, server, "GetPublicKey", asked{"KeyId": "alias/a"}, nil); out.status != want.status || out.Type != want.Type {
			t.Errorf("%q: %+v", code, out)
		}
	}
	server.Faults.Clear()
	if out := call(t, server, "GetPublicKey", asked{"KeyId": "alias/a"}, nil); out.status != http.StatusOK || out.proto != 2 {
		t.Errorf("GetPublicKey: %+v", out)
	}
}
