package tests

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

// TestClusterWhoseLeaderIsKilledLosesNothing kills the server that leads the
// jobs stream, and with it whatever else it leads, and brings it back.
func TestClusterWhoseLeaderIsKilledLosesNothing(t *testing.T) {
	t.Parallel()
	s := newClusterWithWorkers(t)
	var killed node
	s.carriesOn([]func(){
		func() { killed = s.leader(capsign.JobsStream("default")); s.kill(killed.name) },
		func() { s.startNode(killed) },
	})
	s.obeysOperators()
}

// TestClusterGoesOnWithoutANode stops one server, has the load go on without it,
// and brings it back.
func TestClusterGoesOnWithoutANode(t *testing.T) {
	t.Parallel()
	s := newClusterWithWorkers(t)
	leader := s.leader(capsign.JobsStream("default"))
	var changes []func()
	for _, n := range s.nodes {
		if n == leader {
			continue // its turn comes in the rolling restart
		}
		changes = append(changes, func() { s.stopGently(n.name) }, func() { s.startNode(n) })
	}
	s.carriesOn(changes)
}

// TestClusterIsRestartedUnderLoad restarts every server and every worker, one
// after the other, as an upgrade would.
func TestClusterIsRestartedUnderLoad(t *testing.T) {
	t.Parallel()
	s := newClusterWithWorkers(t)
	var changes []func()
	for _, n := range s.nodes {
		changes = append(changes, func() { s.stopGently(n.name); s.startNode(n) })
	}
	for _, worker := range []string{"a", "b"} {
		changes = append(changes, func() {
			if status := s.stopGently(worker); status != 0 {
				t.Errorf("worker %s ends with %d", worker, status)
			}
			s.startWorker(worker)
			s.awaitWorkers(2)
		})
	}
	s.carriesOn(changes)
	s.obeysOperators()
}

// newClusterWithWorkers returns a cluster with two workers of one pool.
func newClusterWithWorkers(t *testing.T) *site {
	t.Helper()
	s := newCluster(t)
	s.startWorker("a")
	s.startWorker("b")
	s.awaitWorkers(2)
	s.checkReplicas()
	return s
}

// carriesOn signs on both lanes while changes are made, each in the middle of
// the load, and holds the end against the promise: every request has one stored
// result, none had two different ones, and each is in an audit log. It reports
// how long the load had to wait.
func (s *site) carriesOn(changes []func()) {
	s.t.Helper()
	released := make([]*releases, len(s.nodes))
	for i, n := range s.nodes {
		released[i] = countReleases(s.t, s.connectTo(n.url())) // one server's word may be lost with it
	}
	oneOffs := s.signOneOffs(2)
	began := time.Now()
	sent, slowest := make([]time.Time, clusterRequests), time.Duration(0)
	load{
		requests: clusterRequests, strikes: len(changes), window: 64,
		strike: func(i int) {
			began := time.Now()
			changes[i]()
			s.t.Logf("change %d took %v", i, time.Since(began).Round(time.Millisecond))
		},
		send: func(i int) { sent[i] = time.Now() },
		take: func(signed capsign.Signed, _ error) {
			var i int
			_, _ = fmt.Sscan(signed.Ref, &i)
			slowest = max(slowest, time.Since(sent[i]))
		},
	}.run(s.t, s.connect())
	signed, waited := oneOffs()
	s.t.Logf("%v; bulk: %d requests, longest wait %v; express: %d requests, longest wait %v",
		time.Since(began).Round(time.Millisecond), clusterRequests, slowest.Round(time.Millisecond), signed, waited.Round(time.Millisecond))
	for _, r := range released {
		r.checkOneAnswer(s.t)
	}
	s.checkOneResultPerRequest(clusterRequests + signed)
	s.checkAudit(uint64(clusterRequests + signed))
}

// signOneOffs has so many callers sign one message after the other until the
// returned function is called, which tells how many were signed and how long the
// slowest took.
func (s *site) signOneOffs(callers int) (finish func() (signed int, slowest time.Duration)) {
	s.t.Helper()
	client, err := capsign.NewClient(s.t.Context(), s.connect(), capsign.ClientConfig{Timeout: 5 * patience})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(client.Close)
	ctx, stop := context.WithCancel(s.t.Context())
	var mu sync.Mutex
	var calling sync.WaitGroup
	signed, slowest := 0, time.Duration(0)
	for caller := range callers {
		calling.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				began := time.Now()
				_, err := client.Sign(s.t.Context(), fmt.Appendf(nil, "one-off %d of %d", n, caller))
				if s.t.Context().Err() != nil {
					return
				}
				mu.Lock()
				if err != nil {
					s.t.Errorf("one-off: %v", err)
				}
				signed, slowest = signed+1, max(slowest, time.Since(began))
				mu.Unlock()
			}
		})
	}
	s.t.Cleanup(calling.Wait) // where the test has ended before
	return func() (int, time.Duration) {
		stop()
		calling.Wait()
		return signed, slowest
	}
}

// obeysOperators pauses and resumes the pool, which every worker and a client
// that has been there from before must hear of.
func (s *site) obeysOperators() {
	s.t.Helper()
	nc := s.connect()
	state := func(want capsign.PoolState) func() bool {
		return func() bool {
			workers, err := capsign.FetchWorkers(s.t.Context(), nc, "default")
			n := 0
			for _, w := range workers {
				if w.State == want {
					n++
				}
			}
			return err == nil && n == 2
		}
	}
	if _, err := capsign.PausePool(s.t.Context(), nc, "default"); err != nil {
		s.t.Fatal(err)
	}
	await(s.t, "both workers are paused", state(capsign.PoolPaused))
	s.mustBeTold(capsign.PausedByOperator)
	if _, err := capsign.ResumePool(s.t.Context(), nc, "default"); err != nil {
		s.t.Fatal(err)
	}
	await(s.t, "both workers are ready", state(capsign.PoolReady))
	s.mustSignAgain()
}
