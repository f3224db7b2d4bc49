package queue_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/audit"
)

// full is a vendor's word that its quota is used up for a while.
type full struct {
	capsign.Code
	wait time.Duration
}

// After says for how long.
func (f full) After() time.Duration { return f.wait }

// Unwrap says what it is.
func (f full) Unwrap() error { return f.Code }

// quota lets through so many signatures a second, and refuses the others.
type quota struct {
	mu      sync.Mutex
	left    int
	refills time.Time
	refused int
}

// take is what a signer does before it signs.
func (q *quota) take(perSecond int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now := time.Now(); now.After(q.refills) {
		q.left, q.refills = perSecond, now.Add(time.Second)
	}
	if q.left--; q.left < 0 {
		q.refused++
		return full{capsign.Throttled, time.Until(q.refills)}
	}
	return nil
}

// A batch that is larger than the quota would never be done, if each refusal had
// it begin again; and a handful of them would cost it all its deliveries.
func TestQuotaCostsNoDelivery(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		var q quota
		p.signer.before = func(_ context.Context, _ int64, msg []byte) error {
			err := q.take(20)
			if err != nil && bytes.HasPrefix(msg, []byte("cap canary")) {
				t.Error("a canary came before the vendor said")
			}
			return err
		}
		p.config.MaxDeliveries = 1
		var deliveries []int
		p.config.Audit = auditor(func(r audit.Record) error { deliveries = append(deliveries, r.Delivery); return nil })
		p.startWorker(t)
		client := p.client(t, capsign.ClientConfig{Pack: 100})
		for signed, err := range client.SignAll(t.Context(), messages(100)) {
			if err != nil {
				t.Fatalf("item %s: %v", signed.Ref, err)
			}
		}
		if len(deliveries) != 1 || deliveries[0] != 1 {
			t.Errorf("delivered %v times, want once", deliveries)
		}
		if q.refused == 0 {
			t.Error("the quota was never used up")
		}
		if asked := p.signer.signed.Load(); asked > 150 {
			t.Errorf("the provider was asked %d times for 100 signatures", asked)
		}
		synctest.Wait()
	})
}

// A worker with a rate of its own never meets the quota.
func TestRateIsKept(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.config.MaxRate = 20
		p.startWorker(t)
		began := time.Now()
		for _, err := range p.client(t, capsign.ClientConfig{}).SignAll(t.Context(), messages(100)) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 4800*time.Millisecond || took > 7*time.Second {
			t.Errorf("100 signatures at 20 a second took %v", took)
		}
	})
}

// What waits for a quota does not hold up a worker that stops: another one may
// have room.
func TestStoppingWorkerDoesNotWaitForTheQuota(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.signer.before = func(context.Context, int64, []byte) error { return full{capsign.Throttled, time.Minute} }
		worker := p.startWorker(t)
		req := p.newRequest()
		p.publish(t, p.subject(capsign.Bulk), encode(t, req))
		eventually(t, "the provider was asked", func() bool { return p.signer.signed.Load() > 0 })
		began := time.Now()
		stop(t, worker)
		if took := time.Since(began); took > time.Second {
			t.Errorf("stopping took %v", took)
		}
		if n := p.waiting(t); n != 1 {
			t.Errorf("%d requests in the queue, want the one", n)
		}
	})
}

// messages returns n different items.
func messages(n int) func(yield func(capsign.Item) bool) {
	return func(yield func(capsign.Item) bool) {
		for i := range n {
			if !yield(capsign.Item{Ref: fmt.Sprint(i), Message: fmt.Appendf(nil, "message %d", i)}) {
				return
			}
		}
	}
}
