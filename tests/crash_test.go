package tests

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/audit"
)

// TestKillingWorkersLosesNothing kills workers under load, at moments that
// chance picks, while the broker stays.
func TestKillingWorkersLosesNothing(t *testing.T) {
	site := newSite(t)
	site.startServer()
	site.startWorker("a")
	site.startWorker("b")
	survives(t, site, func(ctx context.Context) {
		for i := 0; site.wait(ctx, 500*time.Millisecond); i++ {
			site.restartWorker([]string{"a", "b"}[i%2])
		}
	})
}

// TestKillingTheServerLosesNothing kills the broker under load.
func TestKillingTheServerLosesNothing(t *testing.T) {
	site := newSite(t)
	site.startServer()
	site.startWorker("a")
	site.startWorker("b")
	survives(t, site, func(ctx context.Context) {
		for site.wait(ctx, 250*time.Millisecond) {
			site.restartServer()
		}
	})
}

// TestKillingAWorkerWithItsServerLosesNothing kills the worker that brings its
// own broker, both at once.
func TestKillingAWorkerWithItsServerLosesNothing(t *testing.T) {
	site := newSite(t)
	site.startEmbedded()
	survives(t, site, func(ctx context.Context) {
		for site.wait(ctx, 150*time.Millisecond) {
			site.restartEmbedded()
		}
	})
}

// survives signs crashRequests messages, each a request of its own, while havoc
// is made, and holds the end against the promise: every message has one
// signature that verifies, and no request ever had two released.
func survives(t *testing.T, site *site, havoc func(context.Context)) {
	ctx, stopHavoc := context.WithCancel(t.Context())
	nc := site.connect()
	released := countReleases(t, nc)
	client, err := capsign.NewClient(t.Context(), nc, capsign.ClientConfig{Pack: 1, Window: 64, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)

	var making sync.WaitGroup
	making.Go(func() { havoc(ctx) })
	signed := 0
	for outcome, err := range client.SignAll(t.Context(), numbered(crashRequests)) {
		if err != nil {
			t.Errorf("item %s: %v", outcome.Ref, err)
			continue
		}
		signed++
	}
	stopHavoc()
	making.Wait()
	if signed != crashRequests {
		t.Errorf("%d of %d signed", signed, crashRequests)
	}
	released.check(t)
	site.checkOneResultPerRequest(crashRequests)
	site.checkAudit(crashRequests)
	if site.kills == 0 {
		t.Error("nothing was killed while the load lasted")
	}
	t.Logf("%d requests, %d kills", crashRequests, site.kills)
}

// numbered returns n different messages.
func numbered(n int) iter.Seq[capsign.Item] {
	return func(yield func(capsign.Item) bool) {
		for i := range n {
			if !yield(capsign.Item{Ref: fmt.Sprint(i), Message: fmt.Appendf(nil, "message %d", i)}) {
				return
			}
		}
	}
}

// releases counts the results released for each request.
type releases struct {
	mu    sync.Mutex
	count map[string]int
}

// countReleases listens to all results.
func countReleases(t *testing.T, nc *nats.Conn) *releases {
	t.Helper()
	r := &releases{count: make(map[string]int)}
	sub, err := nc.Subscribe("cap.result.>", func(msg *nats.Msg) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.count[msg.Subject]++
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	return r
}

// check fails the test for each request with more than one result released.
func (r *releases) check(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for subject, n := range r.count {
		if n > 1 {
			t.Errorf("%d results released on %s", n, subject)
		}
	}
}

// checkOneResultPerRequest compares what is stored with what was asked.
func (s *site) checkOneResultPerRequest(requests int) {
	s.t.Helper()
	js, err := jetstream.New(s.connect())
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	stream, err := js.Stream(ctx, capsign.ResultsStream)
	if err != nil {
		s.t.Fatal(err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter("cap.store.>"))
	if err != nil {
		s.t.Fatal(err)
	}
	for subject, n := range info.State.Subjects {
		if n != 1 {
			s.t.Errorf("%d results stored on %s", n, subject)
		}
	}
	if stored := len(info.State.Subjects); stored != requests {
		s.t.Errorf("%d results stored for %d requests", stored, requests)
	}
}

// checkAudit holds what every worker recorded against tampering, or against
// what a kill may have done to it: at the end of each log there may be half a
// line, which the next start of the worker removes.
func (s *site) checkAudit(requests uint64) {
	s.t.Helper()
	logs, err := filepath.Glob(filepath.Join(s.dir, "data*", "audit"))
	if err != nil || len(logs) == 0 {
		s.t.Fatalf("no audit log: %v", err)
	}
	var records uint64
	for _, dir := range logs {
		log, err := audit.Open(dir, true)
		if err != nil {
			s.t.Fatal(err)
		}
		if err := log.Close(); err != nil {
			s.t.Error(err)
		}
		n, err := audit.Verify(dir)
		if err != nil {
			s.t.Error(err)
		}
		records += n
	}
	if records < requests {
		s.t.Errorf("%d records of %d requests", records, requests)
	}
}

// wait waits for a time around d and reports whether there is still load to
// disturb.
func (s *site) wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d/2 + rand.N(d)):
		return true
	case <-ctx.Done():
		return !errors.Is(ctx.Err(), context.Canceled)
	}
}
