package awskms

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/aws"
	"github.com/capsign/cap/internal/kmstest/fault"
)

// With the SDK's own retries each of these would be a timeout.
func TestShortDeadlinesTellWhatIsWrong(t *testing.T) {
	server := newServer(t, aws.Options{})
	addKey(t, server, testAlias, aws.P256, nil)
	provider := open(t, configFor(server, testAlias))
	for _, code := range []fault.Code{fault.Unavailable, fault.Throttled, fault.Internal} {
		server.Faults.Set(fault.Fault{Kind: fault.Error, Code: code, Times: 1})
		mustSign(t, provider, "", 300*time.Millisecond)
	}
	server.Faults.Set(fault.Fault{Kind: fault.Error, Code: fault.Throttled})
	mustNotSign(t, provider, 300*time.Millisecond, capsign.Throttled)
	server.Faults.Set(fault.Fault{Kind: fault.Error, Code: fault.Unavailable})
	mustNotSign(t, provider, 300*time.Millisecond, capsign.ProviderUnavailable)
	server.Faults.Set(fault.Fault{Kind: fault.Error, Code: fault.Throttled, Times: 1}, fault.Fault{Kind: fault.Hang})
	mustNotSign(t, provider, 300*time.Millisecond, capsign.Throttled)
	for code, want := range map[fault.Code]capsign.Code{
		fault.DeadlineExceeded:    capsign.ProviderUnavailable, // a dependency's, of the service
		"KeyUnavailableException": capsign.ProviderUnavailable,
		"LimitExceededException":  capsign.Throttled,
	} {
		server.Faults.Set(fault.Fault{Kind: fault.Error, Code: code})
		mustNotSign(t, provider, 100*time.Millisecond, want)
	}
	server.Stop()
	mustNotSign(t, provider, 300*time.Millisecond, capsign.ProviderUnavailable)
}

// What another try cannot mend is asked once.
func TestLastingFaultsAreNotRetried(t *testing.T) {
	server := newServer(t, aws.Options{})
	addKey(t, server, testAlias, aws.P256, nil)
	provider := open(t, configFor(server, testAlias))
	for i, broken := range []fault.Fault{
		{Kind: fault.Error, Code: fault.PermissionDenied},
		{Kind: fault.Error, Code: fault.NotFound},
		{Kind: fault.CorruptKeyID},
	} {
		server.Faults.Set(broken)
		if _, err := provider.Sign(t.Context(), "", []byte("m")); err == nil {
			t.Errorf("Sign with %v succeeded", broken)
		}
		if calls := server.Faults.Calls("Sign"); calls != i+1 {
			t.Errorf("%d calls after %v, want %d", calls, broken, i+1)
		}
	}
}

// A firewall that forgot a connection swallows what goes over it.
func TestSilentConnectionsAreReplaced(t *testing.T) {
	for name, options := range map[string]aws.Options{"HTTP2": {}, "HTTP1": {HTTP1: true}} {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, options)
			addKey(t, server, testAlias, aws.P256, nil)
			proxy := fault.BlackHole(t, server.Address())
			cfg := configFor(server, testAlias)
			cfg.Endpoint = "https://" + proxy.Addr()
			provider := open(t, cfg)
			signAtOnce(t, provider, 8, 2*time.Second)
			provider.client.pool.current.Load().since = time.Now().Add(-minAge)
			before := proxy.Accepted()

			proxy.Stall()
			began := time.Now()
			for failed := 0; ; failed++ {
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				_, err := provider.Sign(ctx, "", []byte("anyone there"))
				cancel()
				if err == nil {
					t.Logf("recovered after %d failed calls, %v, with %d new connections",
						failed, time.Since(began).Round(time.Millisecond), proxy.Accepted()-before)
					break
				}
				mustWrap(t, "Sign", err, capsign.ProviderTimeout)
				if failed == maxTimeouts {
					t.Fatalf("not recovered after %d timeouts: %v", failed, err)
				}
			}
			// Some may meet a silent connection yet, for one of their tries.
			signAtOnce(t, provider, 8, 10*time.Second)
		})
	}
}

// An endpoint without HTTP/2 gets as many connections as there are callers, and
// keeps them.
func TestConnectionsStayOpen(t *testing.T) {
	server := newServer(t, aws.Options{HTTP1: true, ServiceTime: 50 * time.Millisecond})
	addKey(t, server, testAlias, aws.P256, nil)
	proxy := fault.BlackHole(t, server.Address())
	cfg := configFor(server, testAlias)
	cfg.Endpoint = "https://" + proxy.Addr()
	provider := open(t, cfg)
	for range 5 {
		signAtOnce(t, provider, 64, 5*time.Second)
	}
	if n := proxy.Accepted(); n > 64+16 { // dialled for a caller that took another's instead
		t.Errorf("%d connections for 64 callers", n)
	}
}

// signAtOnce has n callers sign at the same time.
func signAtOnce(t *testing.T, provider *Provider, n int, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var callers sync.WaitGroup
	for range n {
		callers.Go(func() {
			if _, err := provider.Sign(ctx, "", []byte("together")); err != nil {
				t.Errorf("Sign: %v", err)
			}
		})
	}
	callers.Wait()
}

// A crowd whose requests all end at once replaces the connections once, and a
// service that is merely slow does not get new ones without end.
func TestConnectionsAreReplacedOncePerSecondAtMost(t *testing.T) {
	server := newServer(t, aws.Options{})
	addKey(t, server, testAlias, aws.P256, nil)
	proxy := fault.BlackHole(t, server.Address())
	cfg := configFor(server, testAlias)
	cfg.Endpoint = "https://" + proxy.Addr()
	var lines countingHandler
	cfg.Log = slog.New(&lines)
	provider := open(t, cfg)
	provider.client.pool.current.Load().since = time.Now().Add(-minAge)
	server.Faults.Set(fault.Fault{Kind: fault.Hang, Method: "Sign"})
	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() { mustNotSign(t, provider, 100*time.Millisecond, capsign.ProviderTimeout) })
	}
	callers.Wait()
	for range 4 {
		mustNotSign(t, provider, 50*time.Millisecond, capsign.ProviderTimeout)
	}
	if n := lines.count("connections to aws kms replaced"); n != 1 {
		t.Errorf("connections replaced %d times, want once", n)
	}
}

// countingHandler counts log lines by message. It is a slog.Handler.
type countingHandler struct {
	mu    sync.Mutex
	lines []string
}

func (*countingHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h *countingHandler) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h *countingHandler) WithGroup(string) slog.Handler          { return h }

func (h *countingHandler) Handle(_ context.Context, record slog.Record) error {
	var line strings.Builder
	line.WriteString(record.Message)
	record.Attrs(func(a slog.Attr) bool { line.WriteString(" " + a.String()); return true })
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, line.String())
	return nil
}

// count returns how many lines begin with the message.
func (h *countingHandler) count(message string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, line := range h.lines {
		if strings.HasPrefix(line, message) {
			n++
		}
	}
	return n
}

// The log says which of the service's errors it was, and nothing of what the
// service said about it.
func TestLogsHoldNoTextOfTheService(t *testing.T) {
	server := newServer(t, aws.Options{})
	arn := addKey(t, server, testAlias, aws.Ed25519, nil)
	cfg := configFor(server, testAlias)
	var lines countingHandler
	cfg.Log = slog.New(&lines)
	provider := open(t, cfg)
	secret := strings.Repeat("canary", 500)
	for _, code := range []fault.Code{fault.InvalidArgument, fault.PermissionDenied, fault.Unavailable, fault.Disabled} {
		server.Faults.Set(fault.Fault{Kind: fault.Error, Code: code})
		_, err := provider.Sign(t.Context(), "", []byte(secret))
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("Sign with %q: %v", code, err)
		}
	}
	if lines.count("aws kms call failed operation=sign code=unsupported_alg service_code=ValidationException request_id=") != 1 {
		t.Errorf("no line of a refused request in %q", lines.lines)
	}
	for _, line := range lines.lines {
		for _, text := range []string{"canary", "Y2FuYXJ5", arn, "111122223333", "127.0.0.1", "disabled."} {
			if strings.Contains(line, text) {
				t.Errorf("log line %q contains %q", line, text)
			}
		}
	}
}

func TestServiceThatAcceptsAndSaysNothing(t *testing.T) {
	server := newServer(t, aws.Options{})
	addKey(t, server, testAlias, aws.P256, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	cfg := configFor(server, testAlias)
	cfg.Endpoint, cfg.CallTimeout = "https://"+listener.Addr().String(), 300*time.Millisecond
	began := time.Now()
	_, err = Open(t.Context(), cfg)
	mustWrap(t, "Open", err, capsign.ProviderTimeout)
	if _, err = Generate(t.Context(), cfg); !errors.Is(err, capsign.ProviderTimeout) {
		t.Errorf("Generate = %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
}
