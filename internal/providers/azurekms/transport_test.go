package azurekms

import (
	"errors"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/fault"
)

// openThroughProxy opens the key through a proxy.
func openThroughProxy(t *testing.T) (*Provider, *fault.Proxy) {
	t.Helper()
	vault, cfg := newKey(t, capsign.ES256)
	proxy := fault.BlackHole(t, vault.Addr())
	cfg.Endpoint = "https://" + proxy.Addr()
	return open(t, cfg), proxy
}

// A firewall that forgets a connection must not stop a worker for the quarter of
// an hour that the kernel believes in it.
func TestSilentConnectionIsLeft(t *testing.T) {
	provider, proxy := openThroughProxy(t)
	mustSign(t, provider, "")
	proxy.Stall()
	start := time.Now()
	for {
		err := signWithin(t, provider, 200*time.Millisecond)
		if err == nil {
			break
		}
		if took := time.Since(start); took > 1500*time.Millisecond { // before a ping would tell
			t.Fatalf("still %v after %v", err, took)
		}
	}
	t.Logf("recovered after %v", time.Since(start))
}

// One call that is given enough time must find another connection by itself:
// the silent one is pinged.
func TestSilentConnectionIsNoticedByACall(t *testing.T) {
	provider, proxy := openThroughProxy(t)
	mustSign(t, provider, "")
	proxy.Stall()
	start := time.Now()
	if err := signWithin(t, provider, 3500*time.Millisecond); err != nil { // less than two attempts
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

func TestNothingAnswers(t *testing.T) {
	provider, proxy := openThroughProxy(t)
	proxy.StallAll()
	for range 3 {
		err := signWithin(t, provider, 100*time.Millisecond)
		mustFail(t, "Sign into silence", err, capsign.ProviderTimeout)
	}
	proxy.Close()
	err := signWithin(t, provider, 500*time.Millisecond)
	mustFail(t, "Sign to a closed port", err, capsign.ProviderUnavailable)
}

func TestTLSIsChecked(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	provider := open(t, cfg)
	certificates := fault.TLS(t)
	for name, present := range map[string]func(){
		"untrusted": func() { vault.Present(certificates.Untrusted) },
		"misnamed":  func() { vault.Present(certificates.Misnamed) },
	} {
		present()
		provider.client.vault.pool.Load().CloseIdleConnections()
		err := signWithin(t, provider, 500*time.Millisecond)
		mustFail(t, "Sign to an "+name+" vault", err, capsign.TLSUntrusted)
	}
	vault.PresentOwn()
	mustSign(t, provider, "")
	// Endpoint says only where to dial: its own name proves nothing.
	cfg.VaultURL = "https://other.vault.azure.net"
	mustNotOpen(t, "a vault of another name", cfg, capsign.TLSUntrusted)
	cfg.CAFile = ""
	mustNotOpen(t, "a vault that the system does not know", cfg, capsign.TLSUntrusted)
}

func TestTokensGoToTheVaultOnly(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	provider := open(t, cfg)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, vault.Endpoint()+"/keys/"+keyName+"/versions", nil)
	must(t, err)
	answer, err := provider.client.vault.Do(req)
	if err == nil {
		_ = answer.Body.Close()
	}
	mustFail(t, "a link to elsewhere", err, capsign.Integrity)
}

func TestEndlessAnswersAreCutShort(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	provider := open(t, cfg)
	vault.Mangle(func([]byte) []byte { return make([]byte, maxAnswer) })
	_, err := provider.Sign(t.Context(), "", []byte("to be signed"))
	mustFail(t, "Sign with an answer of a megabyte", err, capsign.ProviderUnavailable)
}

func TestClose(t *testing.T) {
	_, cfg := newKey(t, capsign.ES256)
	mustSign(t, open(t, cfg), "")
	before := runtime.NumGoroutine()
	for range 10 {
		provider, err := Open(t.Context(), cfg)
		must(t, err)
		mustSign(t, provider, "")
		must(t, provider.Close())
		must(t, provider.Close())
		_, err = provider.Sign(t.Context(), "", []byte("after close"))
		mustFail(t, "Sign after Close", err, capsign.ProviderUnavailable)
	}
	deadline := time.After(5 * time.Second)
	for runtime.NumGoroutine() > before+2 {
		select {
		case <-deadline:
			t.Fatalf("%d goroutines became %d", before, runtime.NumGoroutine())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestForbiddenIsReadToTheInnerError(t *testing.T) {
	for body, want := range map[string]capsign.Code{
		`{"error":{"code":"Forbidden","innererror":{"code":"KeyDisabled"}}}`:                                                       capsign.KeyDisabled,
		`{"error":{"code":"Forbidden","innererror":{"code":"KeyExpired"}}}`:                                                        capsign.KeyDisabled,
		`{"error":{"code":"Forbidden","innererror":{"code":"KeyNotYetValid"}}}`:                                                    capsign.KeyDisabled,
		`{"error":{"code":"Forbidden","message":"Operation sign is not allowed on an expired key."}}`:                              capsign.KeyDisabled,
		`{"error":{"code":"Forbidden","message":"Operation sign is not allowed on a key that is not yet valid.","innererror":{}}}`: capsign.KeyDisabled,
		`{"error":{"code":"Forbidden","innererror":{"code":"ForbiddenByRbac"}}}`:                                                   capsign.ProviderDenied,
		`{"error":{"code":"Forbidden","message":"an expired key","innererror":{"code":"ForbiddenByFirewall"}}}`:                    capsign.ProviderDenied,
		`<html>not the vault</html>`: capsign.ProviderDenied,
		``:                           capsign.ProviderDenied,
	} {
		answer := &http.Response{StatusCode: http.StatusForbidden, Body: http.NoBody}
		if body != "" {
			answer.Body = readCloser{strings.NewReader(body)}
		}
		if got := answerCode(answer); !errors.Is(got, want) {
			t.Errorf("%s: %v, want %v", body, got, want)
		}
	}
}

// readCloser is a body.
type readCloser struct{ *strings.Reader }

// Close implements io.Closer.
func (readCloser) Close() error { return nil }
