package tests

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/audit"
)

// TestKillingWorkersLosesNothing kills workers under load, one after the other,
// while the broker stays.
func TestKillingWorkersLosesNothing(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	site.startServer()
	site.startWorker("a")
	site.startWorker("b")
	survives(t, site, func(i int) { site.restartWorker([]string{"a", "b"}[i%2]) })
}

// TestKillingTheServerLosesNothing kills the broker under load.
func TestKillingTheServerLosesNothing(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	site.startServer()
	site.startWorker("a")
	site.startWorker("b")
	survives(t, site, func(int) { site.restartServer() })
}

// TestKillingAWorkerWithItsServerLosesNothing kills the worker that brings its
// own broker, both at once.
func TestKillingAWorkerWithItsServerLosesNothing(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	site.startEmbedded()
	survives(t, site, func(int) { site.restartEmbedded() })
}

// survives signs crashRequests messages while crashStrikes strikes hit, and
// holds the end against the promise: every message has one signature that
// verifies, and no request ever had two released.
func survives(t *testing.T, site *site, strike func(i int)) {
	t.Helper()
	nc := site.connect()
	released := countReleases(t, nc)
	load{requests: crashRequests, strikes: crashStrikes, window: 64, strike: strike}.run(t, nc)
	released.check(t)
	site.checkOneResultPerRequest(crashRequests)
	site.checkAudit(crashRequests)
	if site.kills != crashStrikes {
		t.Errorf("%d kills of %d", site.kills, crashStrikes)
	}
}

// releases counts the results released for each request, by their bodies.
type releases struct {
	mu    sync.Mutex
	count map[string]map[string]int
}

// countReleases listens to all results.
func countReleases(t *testing.T, nc *nats.Conn) *releases {
	t.Helper()
	r := &releases{count: make(map[string]map[string]int)}
	sub, err := nc.Subscribe("cap.result.>", func(msg *nats.Msg) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.count[msg.Subject] == nil {
			r.count[msg.Subject] = make(map[string]int)
		}
		r.count[msg.Subject][capsign.BodySHA256(msg.Data)]++
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	return r
}

// check fails the test for each request with more than one result released, be
// it the same one twice.
func (r *releases) check(t *testing.T) {
	t.Helper()
	r.checkOneAnswer(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	for subject, bodies := range r.count {
		for _, n := range bodies {
			if n > 1 {
				t.Errorf("%d times the same result released on %s", n, subject)
			}
		}
	}
}

// checkOneAnswer fails the test for each request with different results
// released.
func (r *releases) checkOneAnswer(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.count) == 0 {
		t.Error("no result was released")
	}
	for subject, bodies := range r.count {
		if len(bodies) > 1 {
			t.Errorf("%d different results released on %s", len(bodies), subject)
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
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
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
