package gcpkms

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/capsign/cap/internal/kmstest/gcp"
)

// TestAddedLatency logs what the client adds to KMS's own time with 64 requests in
// flight. It asserts nothing: that
// would be about the machine.
func TestAddedLatency(t *testing.T) {
	if testing.Short() {
		t.Skip("a measurement")
	}
	const serviceTime = 40 * time.Millisecond
	server := newServer(t, gcp.Options{ServiceTime: serviceTime}, gcp.P256)
	provider := openKey(t, newConfig(server))
	var mu sync.Mutex
	var took []time.Duration
	var callers sync.WaitGroup
	for i := range 64 {
		callers.Go(func() {
			time.Sleep(time.Duration(i) * serviceTime / 64) // or all would ask at once, again and again
			for range 30 {
				began := time.Now()
				_, err := provider.Sign(within(t, 5*time.Second), "", bytes.Repeat([]byte("a"), 64))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				took = append(took, time.Since(began)-serviceTime)
				mu.Unlock()
			}
		})
	}
	callers.Wait()
	slices.Sort(took)
	at := func(percent int) time.Duration { return took[len(took)*percent/100].Round(10 * time.Microsecond) }
	t.Logf("added to %v by %d signatures, 64 in flight: p50 %v, p95 %v, p99 %v", serviceTime, len(took), at(50), at(95), at(99))
}
