package queue_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/queue"
)

// inFakeTime runs a story on a real server in a bubble whose clock jumps ahead
// whenever everybody waits.
func inFakeTime(t *testing.T, story func(t *testing.T)) {
	ats.Register() // the server's own clock, which must tick outside the bubble
	defer ats.Unregister()
	// nats.go pools timers, and none may cross into the bubble or out of it: the
	// connections of earlier tests must have let go, and the pool be emptied.
	eventually(t, "earlier connections are gone", func() bool {
		stacks := make([]byte, 1<<20)
		return !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("nats%2ego."))
	})
	emptyPools()
	defer emptyPools()
	synctest.Test(t, story)
}

// emptyPools empties every sync.Pool: what survives one collection in a pool's
// second chamber goes with the next.
func emptyPools() {
	runtime.GC()
	runtime.GC()
}

func TestPassingFaultIsTriedAgain(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.signer.before = func(_ context.Context, n int64, _ []byte) error {
			if n == 1 {
				return capsign.ProviderUnavailable
			}
			return nil
		}
		p.startWorker(t)
		began := time.Now()
		if _, err := p.client(t, capsign.ClientConfig{}).Sign(t.Context(), []byte("hello")); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited > time.Second {
			t.Errorf("the second try came after %v, want 0.1 s", waited)
		}
	})
}

func TestPipelineWaitsForAPoolThatComesBack(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.signer.before = func(_ context.Context, n int64, _ []byte) error {
			if n <= 5 {
				return capsign.ProviderUnavailable
			}
			return nil
		}
		p.startWorker(t)
		items := func(yield func(capsign.Item) bool) { yield(capsign.Item{Message: []byte("hello")}) }
		for _, err := range p.client(t, capsign.ClientConfig{}).SignAll(t.Context(), items) {
			if err != nil {
				t.Error(err)
			}
		}
		eventually(t, "the pool says that it is ready", func() bool { return p.record(t).State == capsign.PoolReady })
	})
}

func TestTriesRunOut(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.config.MaxDeliveries = 3
		var tries atomic.Int64
		p.signer.before = func(_ context.Context, _ int64, msg []byte) error {
			if string(msg) != "poison" {
				return nil // a canary
			}
			tries.Add(1)
			return capsign.ProviderTimeout
		}
		p.startWorker(t)
		_, err := p.client(t, capsign.ClientConfig{}).Sign(t.Context(), []byte("poison"))
		if code, _ := errors.AsType[capsign.Code](err); code != capsign.RetriesExhausted {
			t.Errorf("error %v, want %s", err, capsign.RetriesExhausted)
		}
		if n := tries.Load(); n != 3 {
			t.Errorf("%d tries, want 3", n)
		}
		synctest.Wait()
		if n := p.messages(t, "CAP_DEAD"); n != 1 {
			t.Errorf("%d dead letters, want 1", n)
		}
		if n := p.waiting(t); n != 0 {
			t.Errorf("%d messages left in the queue", n)
		}
	})
}

func TestFaultPastTheDeadlineIsAnExpiry(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		began := time.Now()
		p.signer.before = func(context.Context, int64, []byte) error {
			if time.Since(began) < 6*time.Second {
				return capsign.ProviderUnavailable
			}
			return nil
		}
		p.startWorker(t)
		req := p.newRequest()
		req.Expires = time.Now().Add(5 * time.Second).UTC()
		p.publish(t, p.subject(capsign.Express), encode(t, req))
		if res := p.result(t, req.ID); res.Code != capsign.RequestExpired {
			t.Errorf("code %s, want %s", res.Code, capsign.RequestExpired)
		}
	})
}

func TestSlowSignatureIsNotDeliveredTwice(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.signer.before = func(context.Context, int64, []byte) error {
			time.Sleep(7 * time.Second) // seven times the express lane's AckWait
			return nil
		}
		p.startWorker(t)
		if _, err := p.client(t, capsign.ClientConfig{}).Sign(t.Context(), []byte("hello")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := p.signer.signed.Load(); n != 1 {
			t.Errorf("signed %d times, want once", n)
		}
	})
}

func TestCrashedWorkersRequestIsTakenUpWithinTwoSeconds(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		crash := p.startWorker(t)
		stop(t, crash)
		req := p.newRequest()
		p.publish(t, p.subject(capsign.Express), encode(t, req))
		p.takeAndForget(t, capsign.Express)

		began := time.Now()
		p.startWorker(t)
		if err := p.signer.key.Verify(req.Items[0], p.result(t, req.ID).Outcomes[0].Signature); err != nil {
			t.Error(err)
		}
		if waited := time.Since(began); waited > 2*time.Second {
			t.Errorf("taken up after %v", waited)
		}
	})
}

// takeAndForget pulls one request as a worker that dies at once would.
func (p *pool) takeAndForget(t testing.TB, lane capsign.Lane) {
	t.Helper()
	consumer, err := p.js.Consumer(t.Context(), capsign.JobsStream(p.config.Pool), string(lane))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := consumer.Next(jetstream.FetchMaxWait(time.Second)); err != nil {
		t.Fatal(err)
	}
}

// stop stops a worker that finishes in time.
func stop(t testing.TB, worker *queue.Worker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := worker.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestStopFinishesWhatIsInHand(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		var begun atomic.Int64
		p.signer.before = func(context.Context, int64, []byte) error {
			begun.Add(1)
			time.Sleep(3 * time.Second)
			return nil
		}
		worker := p.startWorker(t)
		req := p.newRequest()
		p.publish(t, p.subject(capsign.Bulk), encode(t, req))
		synctest.Wait()
		if begun.Load() != 1 {
			t.Fatal("signing has not begun")
		}
		stop(t, worker)
		if n := p.messages(t, capsign.ResultsStream); n != 1 {
			t.Errorf("%d results after Stop, want 1", n)
		}
	})
}

func TestStopAbandonsWhatTakesTooLong(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.signer.before = func(ctx context.Context, _ int64, _ []byte) error {
			<-ctx.Done()
			return capsign.ProviderTimeout
		}
		worker := p.startWorker(t)
		p.publish(t, p.subject(capsign.Bulk), encode(t, p.newRequest()))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := worker.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("stop: %v, want the deadline", err)
		}
		if n := p.waiting(t); n != 1 {
			t.Errorf("%d messages left for other workers, want 1", n)
		}
	})
}

func TestLostConsumerIsMadeAnew(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newPool(t)
		if err := p.js.DeleteConsumer(t.Context(), capsign.JobsStream("default"), string(capsign.Express)); err != nil {
			t.Fatal(err)
		}
		if _, err := p.client(t, capsign.ClientConfig{}).Sign(t.Context(), []byte("hello")); err != nil {
			t.Error(err)
		}
	})
}

func TestPausedPoolAnswersWithItsCode(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.signer.before = func(context.Context, int64, []byte) error { time.Sleep(time.Hour); return nil }
		stop(t, p.startWorker(t))
		client := p.client(t, capsign.ClientConfig{})
		var pausing sync.WaitGroup
		defer pausing.Wait()
		pausing.Go(func() {
			time.Sleep(time.Second)
			p.putPool(t, capsign.PoolPaused, capsign.ProviderUnavailable)
		})
		for range 2 { // one that waits already, one that comes later
			began := time.Now()
			_, err := client.Sign(t.Context(), []byte("hello"))
			if code, _ := errors.AsType[capsign.Code](err); code != capsign.ProviderUnavailable {
				t.Errorf("error %v, want %s", err, capsign.ProviderUnavailable)
			}
			if waited := time.Since(began); waited > 2*time.Second {
				t.Errorf("answered after %v", waited)
			}
		}
	})
}

// putPool says something about the pool in its workers' name.
func (p *pool) putPool(t testing.TB, state capsign.PoolState, code capsign.Code) {
	record, err := capsign.Pool{
		V: capsign.Version, Name: "default", Provider: capsign.ProviderSoftware, State: state, Code: code,
		Since: time.Now().UTC(), Current: map[string]string{p.signer.key.Name: p.signer.key.KID},
	}.Encode()
	if err != nil {
		t.Error(err)
	}
	kv, err := p.js.KeyValue(context.Background(), capsign.PoolsBucket)
	if err != nil {
		t.Error(err)
		return
	}
	if _, err := kv.Put(context.Background(), "default", record); err != nil {
		t.Error(err)
	}
}

func TestNoWorkerIsAResultTimeout(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		stop(t, p.startWorker(t))
		began := time.Now()
		_, err := p.client(t, capsign.ClientConfig{Timeout: 10 * time.Second}).Sign(t.Context(), []byte("hello"))
		if code, _ := errors.AsType[capsign.Code](err); code != capsign.ResultTimeout {
			t.Errorf("error %v, want %s", err, capsign.ResultTimeout)
		}
		if waited := time.Since(began); waited < 10*time.Second || waited > 11*time.Second+time.Millisecond {
			t.Errorf("gave up after %v", waited)
		}
		worker := p.startWorker(t)
		eventually(t, "the expired request is answered", func() bool { return p.waiting(t) == 0 })
		if n := p.signer.signed.Load(); n != 0 {
			t.Error("a request was signed after its deadline")
		}
		stop(t, worker)
	})
}

func TestFullStorePausesTheLaneAndLosesNothing(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.config.ResultsMaxBytes = 2048
		p.startWorker(t)
		client := p.client(t, capsign.ClientConfig{Timeout: time.Hour})
		full := false
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			_, err := client.Sign(ctx, []byte("hello"))
			cancel()
			full = full || err != nil
		}
		if !full {
			t.Fatal("the store never filled up")
		}
		req := p.newRequest()
		req.Expires = time.Now().Add(10 * time.Minute).UTC()
		p.publish(t, p.subject(capsign.Bulk), encode(t, req))
		time.Sleep(time.Minute)
		results, err := p.js.Stream(t.Context(), capsign.ResultsStream)
		if err != nil {
			t.Fatal(err)
		}
		if err := results.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.signer.key.Verify(req.Items[0], p.result(t, req.ID).Outcomes[0].Signature); err != nil {
			t.Error(err)
		}
	})
}

// A listing of the keys can miss the one that is published anew meanwhile. The
// signature is good all the same.
func TestKeyThatIsPublishedAnewIsLookedForAgain(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newPool(t)
		kv, err := p.js.KeyValue(t.Context(), capsign.KeysBucket)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := kv.Get(t.Context(), p.signer.key.KID)
		if err == nil {
			err = kv.Delete(t.Context(), p.signer.key.KID)
		}
		if err != nil {
			t.Fatal(err)
		}
		p.signer.before = func(context.Context, int64, []byte) error {
			time.AfterFunc(70*time.Millisecond, func() {
				if _, err := kv.Put(context.Background(), entry.Key(), entry.Value()); err != nil {
					t.Error(err)
				}
			})
			return nil
		}
		if _, err := p.client(t, capsign.ClientConfig{}).Sign(t.Context(), []byte("hello")); err != nil {
			t.Error(err)
		}
	})
}

// The first publication says nothing, each further one that it is one.
func TestRepeatedPublicationsSayThatTheyAre(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		stop(t, p.startWorker(t))
		if err := p.js.DeleteStream(t.Context(), capsign.JobsStream("default")); err != nil {
			t.Fatal(err)
		}
		jobs, err := p.nc.SubscribeSync("cap.job.>")
		if err != nil {
			t.Fatal(err)
		}
		client := p.client(t, capsign.ClientConfig{Timeout: 3500 * time.Millisecond})
		if _, err := client.Sign(t.Context(), []byte("hello")); err == nil {
			t.Fatal("signed, without a queue")
		}
		for n := range 4 {
			msg, err := jobs.NextMsg(time.Second)
			if err != nil {
				t.Fatalf("publication %d: %v", n, err)
			}
			if again := msg.Header.Get(capsign.HeaderAgain) != ""; again != (n > 0) {
				t.Errorf("publication %d: header %v", n, msg.Header)
			}
		}
	})
}

func TestPublicationIsRepeatedWhateverChangesMeanwhile(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		stop(t, p.startWorker(t))
		if err := p.js.DeleteStream(t.Context(), capsign.JobsStream("default")); err != nil {
			t.Fatal(err)
		}
		client := p.client(t, capsign.ClientConfig{})
		var news sync.WaitGroup
		news.Go(func() {
			for n := range 40 { // more often than the client's beat
				time.Sleep(300 * time.Millisecond)
				p.putPool(t, capsign.PoolReady, "")
				if n == 10 {
					p.startWorker(t)
				}
			}
		})
		began := time.Now()
		if _, err := client.Sign(t.Context(), []byte("hello")); err != nil {
			t.Error(err)
		}
		if waited := time.Since(began); waited > 6*time.Second {
			t.Errorf("signed after %v, the queue being back after 3.3 s", waited)
		}
		news.Wait()
	})
}
