package awskms

import (
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/capsign/cap/internal/kmstest/aws"
)

// serviceTime is what the server of the latency test takes for a signature.
const serviceTime = 40 * time.Millisecond

// TestLatencyWith64InFlight logs how much a signature takes beyond the
// service's own time, beside a bare request over the same connections: service
// and client share a machine, and that may be busy. It asserts nothing.
func TestLatencyWith64InFlight(t *testing.T) {
	for name, options := range map[string]aws.Options{"HTTP2": {}, "HTTP1": {HTTP1: true}} {
		options.ServiceTime = serviceTime
		server := newServer(t, options)
		addKey(t, server, testAlias, aws.Ed25519, nil)
		provider := open(t, configFor(server, testAlias))
		signAtOnce(t, provider, 64, 5*time.Second) // makes the connections of HTTP/1.1
		for range 2 {
			logAdded(t, name+" bare request", func() error { return bareRequest(t, provider, server) })
			logAdded(t, name+" signature", func() error {
				_, err := provider.Sign(t.Context(), "", []byte("a message"))
				return err
			})
		}
	}
}

// bareRequest sends what the server refuses, after its time, for want of a
// signature.
func bareRequest(t *testing.T, provider *Provider, server *aws.Server) error {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.Endpoint()+"/", strings.NewReader(strings.Repeat("x", 200)))
	if err != nil {
		return err
	}
	response, err := provider.client.pool.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// logAdded has 64 callers call 10 times each and logs what that took beyond the
// service's time.
func logAdded(t *testing.T, what string, call func() error) {
	t.Helper()
	var mu sync.Mutex
	var added []time.Duration
	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() {
			time.Sleep(rand.N(serviceTime)) // as requests come, not all in one moment
			for range 10 {
				began := time.Now()
				if err := call(); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				took := time.Since(began) - serviceTime
				mu.Lock()
				added = append(added, took)
				mu.Unlock()
			}
		})
	}
	callers.Wait()
	slices.Sort(added)
	t.Logf("%s: added p50 %v, p95 %v, p99 %v of %d", what, added[len(added)/2].Round(10*time.Microsecond),
		added[len(added)*95/100].Round(10*time.Microsecond), added[len(added)*99/100].Round(10*time.Microsecond), len(added))
}
