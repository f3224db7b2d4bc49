package gcp_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/capsign/cap/internal/kmstest/fault"
	"github.com/capsign/cap/internal/kmstest/gcp"
)

// keyName is the resource name of the key of the tests.
const keyName = "projects/" + gcp.Project + "/locations/" + gcp.Location + "/keyRings/" + gcp.KeyRing + "/cryptoKeys/k"

// start starts a server and the SDK's clients of its two forms, which try once.
func start(t *testing.T, opts gcp.Options) (*gcp.Server, map[string]*kms.KeyManagementClient) {
	t.Helper()
	opts.Plaintext = true
	server := gcp.New(t, opts)
	viaGRPC, err := kms.NewKeyManagementClient(t.Context(), option.WithoutAuthentication(),
		option.WithEndpoint(strings.TrimPrefix(server.Endpoint, "http://")),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		t.Fatal(err)
	}
	viaREST, err := kms.NewKeyManagementRESTClient(t.Context(), option.WithEndpoint(server.RESTEndpoint), option.WithHTTPClient(&http.Client{}))
	if err != nil {
		t.Fatal(err)
	}
	clients := map[string]*kms.KeyManagementClient{"gRPC": viaGRPC, "REST": viaREST}
	for _, client := range clients {
		client.CallOptions = &kms.KeyManagementCallOptions{}
		t.Cleanup(func() { _ = client.Close() })
	}
	return server, clients
}

// codeOf returns an error's status, whichever form it came in.
func codeOf(err error) codes.Code {
	if web, ok := errors.AsType[*googleapi.Error](err); ok {
		for code, name := range map[codes.Code]string{
			codes.FailedPrecondition: "FAILED_PRECONDITION", codes.NotFound: "NOT_FOUND",
			codes.InvalidArgument: "INVALID_ARGUMENT", codes.ResourceExhausted: "RESOURCE_EXHAUSTED",
		} {
			if strings.Contains(web.Body, `"status":"`+name+`"`) {
				return code
			}
		}
	}
	return status.Code(err)
}

// sign asks for a signature of data.
func sign(ctx context.Context, client *kms.KeyManagementClient, name string, data []byte) (*kmspb.AsymmetricSignResponse, error) {
	return client.AsymmetricSign(ctx, &kmspb.AsymmetricSignRequest{Name: name, Data: data})
}

func TestOnlyEnabledVersionsAreUsed(t *testing.T) {
	server, clients := start(t, gcp.Options{})
	name, err := server.AddKey("k", gcp.Ed25519, nil)
	if err != nil {
		t.Fatal(err)
	}
	for form, client := range clients {
		for state, test := range map[string]struct {
			change func(string)
			name   string
			want   codes.Code
		}{
			"disabled":         {server.DisableVersion, name, codes.FailedPrecondition},
			"destroyed":        {server.DestroyVersion, name, codes.FailedPrecondition},
			"not there":        {server.EnableVersion, name + "0", codes.NotFound},
			"of no key":        {server.EnableVersion, "projects/a/cryptoKeyVersions/1", codes.NotFound},
			"without a number": {server.EnableVersion, keyName + "/cryptoKeyVersions/a", codes.NotFound},
			"enabled":          {server.EnableVersion, name, codes.OK},
		} {
			test.change(name)
			_, err := client.GetPublicKey(t.Context(), &kmspb.GetPublicKeyRequest{Name: test.name})
			if codeOf(err) != test.want {
				t.Errorf("%s: GetPublicKey of a version %s: %v, want %v", form, state, err, test.want)
			}
			if _, err := sign(t.Context(), client, test.name, nil); codeOf(err) != test.want {
				t.Errorf("%s: AsymmetricSign with a version %s: %v, want %v", form, state, err, test.want)
			}
		}
	}
}

func TestListsPageByPage(t *testing.T) {
	server, clients := start(t, gcp.Options{})
	for range 25 {
		if _, err := server.AddKey("k", gcp.Ed25519, nil); err != nil {
			t.Fatal(err)
		}
	}
	for n := 1; n <= 25; n += 2 {
		server.DisableVersion(fmt.Sprintf("%s/cryptoKeyVersions/%d", keyName, n))
	}
	for form, client := range clients {
		before := server.Faults.Calls("ListCryptoKeyVersions")
		for filter, want := range map[string]int{"": 25, "state=ENABLED": 12} {
			pages := client.ListCryptoKeyVersions(t.Context(), &kmspb.ListCryptoKeyVersionsRequest{Parent: keyName, Filter: filter, PageSize: 10})
			count := 0
			for {
				_, err := pages.Next()
				if errors.Is(err, iterator.Done) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				count++
			}
			if count != want {
				t.Errorf("%s, filter %q: %d versions, want %d", form, filter, count, want)
			}
		}
		if n := server.Faults.Calls("ListCryptoKeyVersions") - before; n != 5 {
			t.Errorf("%s: %d pages, want 5", form, n)
		}
		_, err := client.ListCryptoKeyVersions(t.Context(), &kmspb.ListCryptoKeyVersionsRequest{Parent: keyName, Filter: "a"}).Next()
		if codeOf(err) != codes.InvalidArgument {
			t.Errorf("%s: another filter: %v", form, err)
		}
	}
}

func TestCreatedVersionsArePendingForAWhile(t *testing.T) {
	server, clients := start(t, gcp.Options{Pending: 200 * time.Millisecond})
	server.AddEmptyKey("k", gcp.P256)
	for form, client := range clients {
		v, err := client.CreateCryptoKeyVersion(t.Context(), &kmspb.CreateCryptoKeyVersionRequest{Parent: keyName})
		if err != nil || v.GetState() != kmspb.CryptoKeyVersion_PENDING_GENERATION || v.GetAlgorithm() != gcp.P256 {
			t.Fatalf("%s: created %v, %v", form, v, err)
		}
		if _, err := client.GetPublicKey(t.Context(), &kmspb.GetPublicKeyRequest{Name: v.GetName()}); codeOf(err) != codes.FailedPrecondition {
			t.Errorf("%s: the public key of a pending version: %v", form, err)
		}
		for deadline := time.Now().Add(5 * time.Second); v.GetState() != kmspb.CryptoKeyVersion_ENABLED; {
			if v, err = client.GetCryptoKeyVersion(t.Context(), &kmspb.GetCryptoKeyVersionRequest{Name: v.GetName()}); err != nil || time.Now().After(deadline) {
				t.Fatalf("%s: %v, %v", form, v, err)
			}
		}
	}
}

func TestRequestsAreChecked(t *testing.T) {
	server, clients := start(t, gcp.Options{})
	ed25519, err := server.AddKey("k", gcp.Ed25519, nil)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := server.AddKey("k", gcp.P256, nil)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(nil)
	sha256Digest := &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: digest[:]}}
	for form, client := range clients {
		for name, test := range map[string]struct {
			req  *kmspb.AsymmetricSignRequest
			want codes.Code
		}{
			"64 KiB":                          {&kmspb.AsymmetricSignRequest{Name: ed25519, Data: make([]byte, 64<<10)}, codes.OK},
			"one byte more":                   {&kmspb.AsymmetricSignRequest{Name: ed25519, Data: make([]byte, 64<<10+1)}, codes.InvalidArgument},
			"digest for Ed25519":              {&kmspb.AsymmetricSignRequest{Name: ed25519, Digest: sha256Digest}, codes.InvalidArgument},
			"digest for P-256":                {&kmspb.AsymmetricSignRequest{Name: p256, Digest: sha256Digest}, codes.OK},
			"data for P-256":                  {&kmspb.AsymmetricSignRequest{Name: p256, Data: digest[:]}, codes.InvalidArgument},
			"nothing for P-256":               {&kmspb.AsymmetricSignRequest{Name: p256}, codes.InvalidArgument},
			"half a digest":                   {&kmspb.AsymmetricSignRequest{Name: p256, Digest: &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: digest[:16]}}}, codes.InvalidArgument},
			"checksum of another":             {&kmspb.AsymmetricSignRequest{Name: p256, Digest: sha256Digest, DigestCrc32C: wrapperspb.Int64(1)}, codes.InvalidArgument},
			"data with a checksum of another": {&kmspb.AsymmetricSignRequest{Name: ed25519, Data: digest[:], DataCrc32C: wrapperspb.Int64(1)}, codes.InvalidArgument},
		} {
			if _, err := client.AsymmetricSign(t.Context(), test.req); codeOf(err) != test.want {
				t.Errorf("%s, %s: %v, want %v", form, name, err, test.want)
			}
		}
	}
}

func TestFaultsComeThrough(t *testing.T) {
	server, clients := start(t, gcp.Options{})
	name, err := server.AddKey("k", gcp.Ed25519, nil)
	if err != nil {
		t.Fatal(err)
	}
	for form, client := range clients {
		healthy, err := sign(t.Context(), client, name, []byte("a"))
		if err != nil {
			t.Fatal(err)
		}
		for kind, changed := range map[fault.Kind]func(*kmspb.AsymmetricSignResponse) bool{
			fault.WrongKey: func(a *kmspb.AsymmetricSignResponse) bool {
				return !bytes.Equal(a.GetSignature(), healthy.GetSignature()) && a.GetName() == name
			},
			fault.CorruptSignature: func(a *kmspb.AsymmetricSignResponse) bool {
				return !bytes.Equal(a.GetSignature(), healthy.GetSignature())
			},
			fault.CorruptChecksum: func(a *kmspb.AsymmetricSignResponse) bool {
				return a.GetSignatureCrc32C().GetValue() != healthy.GetSignatureCrc32C().GetValue()
			},
			fault.CorruptKeyID: func(a *kmspb.AsymmetricSignResponse) bool { return a.GetName() != name },
		} {
			server.Faults.Set(fault.Fault{Kind: kind, Times: 1})
			if answer, err := sign(t.Context(), client, name, []byte("a")); err != nil || !changed(answer) {
				t.Errorf("%s, %s: %v, %v", form, kind, answer, err)
			}
		}
		server.Faults.Set(fault.Fault{Kind: fault.DropConnection, Times: 1})
		if answer, err := sign(t.Context(), client, name, []byte("a")); err == nil {
			t.Errorf("%s: an answer over a dropped connection: %v", form, answer)
		}
		server.Faults.Set(fault.Fault{Kind: fault.Error, Code: fault.Throttled, RetryAfter: time.Second, Times: 1})
		if _, err := sign(t.Context(), client, name, []byte("a")); codeOf(err) != codes.ResourceExhausted {
			t.Errorf("%s: throttled: %v", form, err)
		}
		server.Faults.Set(fault.Fault{Kind: fault.Hang, Times: 1})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := sign(ctx, client, name, []byte("a")); err == nil {
			t.Errorf("%s: an answer from a server that hangs", form)
		}
		cancel()
	}
}

func TestWrongKeyIsConsistent(t *testing.T) {
	server, clients := start(t, gcp.Options{})
	name, err := server.AddKey("k", gcp.Ed25519, nil)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, kind := range []fault.Kind{fault.None, fault.WrongKey} {
		server.Faults.Set(fault.Fault{Kind: kind})
		answer, err := clients["gRPC"].GetPublicKey(t.Context(), &kmspb.GetPublicKeyRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode([]byte(answer.GetPem()))
		if _, err := x509.ParsePKIXPublicKey(block.Bytes); err != nil {
			t.Errorf("%q: %v", kind, err)
		}
		keys = append(keys, answer.GetPem())
	}
	if keys[0] == keys[1] {
		t.Error("the wrong key is the right one")
	}
}
