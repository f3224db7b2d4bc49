package awskms

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/aws"
)

// TestLatencyWith64InFlight logs how much a signature takes beyond the
// service's own time. It asserts nothing: service and client share a machine,
// and that may be busy.
func TestLatencyWith64InFlight(t *testing.T) {
	const callers, service = 64, 40 * time.Millisecond
	for name, options := range map[string]aws.Options{"HTTP2": {}, "HTTP1": {HTTP1: true}} {
		options.ServiceTime = service
		server := newServer(t, options)
		for _, key := range []struct {
			alias, spec string
			alg         capsign.Alg
		}{{testAlias, aws.Ed25519, capsign.Ed25519}, {testAlias + "-p256", aws.P256, capsign.ES256}} {
			addKey(t, server, key.alias, key.spec, nil)
			provider := open(t, configFor(server, key.alias))
			signAtOnce(t, provider, callers, 5*time.Second) // makes the connections of HTTP/1.1
			var mu sync.Mutex
			var added []time.Duration
			var running sync.WaitGroup
			for range callers {
				running.Go(func() {
					time.Sleep(rand.N(service)) // as requests come, not all in one moment
					for range 10 {
						began := time.Now()
						if _, err := provider.Sign(t.Context(), "", []byte("a message")); err != nil {
							t.Errorf("Sign: %v", err)
						}
						mu.Lock()
						added = append(added, time.Since(began)-service)
						mu.Unlock()
					}
				})
			}
			running.Wait()
			slices.Sort(added)
			t.Logf("%s %s: added p50 %v, p95 %v, p99 %v of %d signatures", name, key.alg,
				added[len(added)/2], added[len(added)*95/100], added[len(added)*99/100], len(added))
		}
	}
}

func BenchmarkSign(b *testing.B) {
	server := newServer(b, aws.Options{})
	addKey(b, server, testAlias, aws.Ed25519, nil)
	provider := open(b, configFor(server, testAlias))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := provider.Sign(b.Context(), "", []byte("a message")); err != nil {
			b.Fatal(err)
		}
	}
}
