package gcpkms

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/auth"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/fault"
	"github.com/capsign/cap/internal/kmstest/gcp"
	"github.com/capsign/cap/internal/providers"
)

// within returns a context that ends after d.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// errorText is the form of an error.
var errorText = regexp.MustCompile(`^[a-z0-9]+(: [a-z0-9 ,'-]+)*: [a-z_]+$`)

// mustFail says that err is this code, in the form that errors have.
func mustFail(t testing.TB, what string, err error, want capsign.Code) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %s", what, err, want)
		return
	}
	for _, secret := range secrets {
		if strings.Contains(err.Error(), secret) || !errorText.MatchString(err.Error()) {
			t.Errorf("%s: the text %q", what, err)
		}
	}
}

func TestPassingFaultsAreTriedAgainWithinTheDeadline(t *testing.T) {
	server := newServer(t, gcp.Options{}, gcp.Ed25519)
	provider := openKey(t, newConfig(server))
	for _, code := range []fault.Code{fault.Unavailable, fault.Internal, fault.Throttled} {
		server.Faults.Set(fault.Fault{Kind: fault.Error, Code: code, Times: 1})
		before := server.Faults.Calls("AsymmetricSign")
		sig, err := provider.Sign(within(t, 300*time.Millisecond), "", []byte("a"))
		if err != nil {
			t.Errorf("%s once, then healthy: %v", code, err)
			continue
		}
		mustVerify(t, provider, []byte("a"), sig)
		if n := server.Faults.Calls("AsymmetricSign") - before; n != 2 {
			t.Errorf("%s once: %d calls, want 2", code, n)
		}
	}
}

// With the SDK's own retries, or with ours on top of them, the one call would be
// many.
func TestLastingFaultsAreNotTriedAgain(t *testing.T) {
	server := newServer(t, gcp.Options{}, gcp.Ed25519)
	provider := openKey(t, newConfig(server))
	for _, test := range []struct {
		fault fault.Fault
		want  capsign.Code
		calls int
	}{
		{fault.Fault{Kind: fault.Error, Code: fault.PermissionDenied}, capsign.ProviderDenied, 1},
		{fault.Fault{Kind: fault.CorruptSignature}, capsign.Integrity, 1},
		{fault.Fault{Kind: fault.Error, Code: fault.Unavailable}, capsign.ProviderUnavailable, 4},
	} {
		server.Faults.Set(test.fault)
		before := server.Faults.Calls("AsymmetricSign")
		_, err := provider.Sign(within(t, 5*time.Second), "", []byte("a"))
		mustFail(t, "Sign", err, test.want)
		if n := server.Faults.Calls("AsymmetricSign") - before; n != test.calls {
			t.Errorf("%s: %d calls, want %d", test.want, n, test.calls)
		}
	}
}

func TestGooglesWaitIsKept(t *testing.T) {
	server := newServer(t, gcp.Options{}, gcp.Ed25519)
	provider := openKey(t, newConfig(server))
	server.Faults.Set(fault.Fault{Kind: fault.Error, Code: fault.Throttled, RetryAfter: 200 * time.Millisecond, Times: 1})
	began := time.Now()
	if _, err := provider.Sign(within(t, 5*time.Second), "", nil); err != nil || time.Since(began) < 200*time.Millisecond {
		t.Errorf("a wait of 200 ms: %v after %v", err, time.Since(began))
	}
	server.Faults.Set(fault.Fault{Kind: fault.Error, Code: fault.Throttled, RetryAfter: time.Hour})
	began = time.Now()
	_, err := provider.Sign(within(t, 5*time.Second), "", nil)
	mustFail(t, "a wait of an hour", err, capsign.Throttled)
	if throttled, _ := errors.AsType[providers.Throttled](err); throttled.RetryAfter != time.Hour || time.Since(began) > time.Second {
		t.Errorf("a wait of an hour: %v after %v", throttled, time.Since(began))
	}
}

func TestConnectionFaults(t *testing.T) {
	certificates := fault.TLS(t)
	gcp.Credentials(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, closed.Close())
	for name, test := range map[string]struct {
		opts gcp.Options
		addr string // instead of the server's
		want capsign.Code
	}{
		"trusted":                     {gcp.Options{Certificate: &certificates.Server}, "", ""},
		"certificate of another CA":   {gcp.Options{Certificate: &certificates.Untrusted}, "", capsign.TLSUntrusted},
		"certificate of another host": {gcp.Options{Certificate: &certificates.Misnamed}, "", capsign.TLSUntrusted},
		"server without TLS":          {gcp.Options{Plaintext: true}, "", capsign.ProviderUnavailable},
		"nobody listens":              {gcp.Options{}, closed.Addr().String(), capsign.ProviderUnavailable},
	} {
		server := gcp.New(t, test.opts)
		addVersion(t, server, gcp.Ed25519)
		cfg := newConfig(server)
		cfg.CAFile = certificates.CAFile
		cfg.Endpoint = "https://" + strings.TrimPrefix(strings.TrimPrefix(server.Endpoint, "http://"), "https://")
		if test.addr != "" {
			cfg.Endpoint = "https://" + test.addr
		}
		provider, err := Open(t.Context(), cfg)
		if test.want != "" {
			mustFail(t, name, err, test.want)
			continue
		}
		must(t, err)
		must(t, provider.Close())
	}
}

// throughProxy opens the server's key with a proxy in between.
func throughProxy(t *testing.T, server *gcp.Server) (*Provider, *fault.Proxy) {
	t.Helper()
	proxy := fault.BlackHole(t, strings.TrimPrefix(server.Endpoint, "https://"))
	cfg := newConfig(server)
	cfg.Endpoint, cfg.CallTimeout = "https://"+proxy.Addr(), 0
	return openKey(t, cfg), proxy
}

// A connection that a firewall forgot must not hold the worker up until TCP gives
// up, nor until gRPC's keepalive does.
func TestSilentConnectionIsReplaced(t *testing.T) {
	server := newServer(t, gcp.Options{}, gcp.Ed25519)
	provider, proxy := throughProxy(t, server)
	proxy.Stall()
	began := time.Now()
	sig, err := provider.Sign(t.Context(), "", []byte("a")) // within the default timeout
	must(t, err)
	mustVerify(t, provider, []byte("a"), sig)
	t.Logf("recovered after %v", time.Since(began).Round(time.Millisecond))

	proxy.Stall()
	began = time.Now()
	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() {
			if _, err := provider.Sign(t.Context(), "", []byte("a")); err != nil {
				t.Errorf("one of 64: %v", err)
			}
		})
	}
	callers.Wait()
	t.Logf("64 in flight recovered after %v", time.Since(began).Round(time.Millisecond))
	if n := proxy.Accepted(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
}

// Requests with short deadlines must not take longer to find out.
func TestSilentConnectionIsReplacedUnderShortDeadlines(t *testing.T) {
	server := newServer(t, gcp.Options{}, gcp.Ed25519)
	provider, proxy := throughProxy(t, server)
	proxy.Stall()
	began := time.Now()
	for {
		if _, err := provider.Sign(within(t, 300*time.Millisecond), "", []byte("a")); err == nil {
			break
		}
		if time.Since(began) > 5*time.Second {
			t.Fatal("not recovered")
		}
	}
	t.Logf("recovered after %v", time.Since(began).Round(time.Millisecond))
}

// Deadlines that are shorter than KMS's answers must not have connections made
// without end.
func TestSlowAnswersDoNotReplaceConnections(t *testing.T) {
	server := newServer(t, gcp.Options{ServiceTime: 50 * time.Millisecond}, gcp.Ed25519)
	provider, proxy := throughProxy(t, server)
	began := time.Now()
	for range 20 {
		_, err := provider.Sign(within(t, 10*time.Millisecond), "", []byte("a"))
		mustFail(t, "Sign", err, capsign.ProviderTimeout)
	}
	if n, most := proxy.Accepted(), 1+int(time.Since(began)/minLinkAge); n > most {
		t.Errorf("%d connections, want at most %d", n, most)
	}
}

func TestOutageEnds(t *testing.T) {
	server := newServer(t, gcp.Options{}, gcp.Ed25519)
	provider, proxy := throughProxy(t, server)
	proxy.StallAll()
	_, err := provider.Sign(within(t, 300*time.Millisecond), "", []byte("a"))
	mustFail(t, "Sign", err, capsign.ProviderTimeout)
	proxy.Resume()
	_, err = provider.Sign(t.Context(), "", []byte("a"))
	must(t, err)
}

func TestCredentialsThatCannotBeUsed(t *testing.T) {
	server := newServer(t, gcp.Options{}, gcp.Ed25519)
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.json")
	must(t, os.WriteFile(garbage, []byte(`{"type":"service_account","private_key":"none"}`), 0o600))
	for name, file := range map[string]string{"missing": filepath.Join(dir, "missing.json"), "garbage": garbage} {
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
		_, err := Open(t.Context(), newConfig(server))
		mustFail(t, name, err, capsign.CredentialsInvalid)
	}
}

// The SDK's search for credentials takes no context, and may wait for a metadata
// server, or as here for a file.
func TestSearchForCredentialsIsBounded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fifo")
	must(t, syscall.Mkfifo(file, 0o600))
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	_, err := findCredentials(within(t, 50*time.Millisecond))
	if !errors.Is(err, capsign.ProviderTimeout) {
		t.Errorf("findCredentials = %v, want %v", err, capsign.ProviderTimeout)
	}
	writer, err := os.OpenFile(file, os.O_WRONLY, 0) // ends the search
	must(t, err)
	must(t, writer.Close())
}

// failingTokens is a token server that fails.
type failingTokens struct{ err error }

// Token fails.
func (f failingTokens) Token(context.Context) (*auth.Token, error) { return nil, f.err }

func TestTokenServerThatIsAwayIsNotARefusal(t *testing.T) {
	_, dialErr := net.DialTimeout("tcp", "127.0.0.1:1", time.Second)
	for name, test := range map[string]struct {
		err  error
		want codes.Code
	}{
		"cannot be reached": {dialErr, codes.Unavailable},
		"refuses":           {&auth.Error{}, codes.Unauthenticated},
		"anything else":     {os.ErrInvalid, codes.Unauthenticated},
	} {
		_, err := tokenSource{failingTokens{test.err}}.Token(t.Context())
		if status.Code(err) != test.want {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}
