package queue_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/queue"
)

// record returns what stands in the pool's record.
func (p *pool) record(t testing.TB) capsign.Pool {
	t.Helper()
	pools, err := capsign.FetchPools(t.Context(), p.nc)
	if err != nil {
		t.Fatal(err)
	}
	return pools["default"]
}

// signs reports whether the pool signs a message within two seconds.
func (p *pool) signs(t testing.TB) error {
	t.Helper()
	_, err := p.client(t, capsign.ClientConfig{Timeout: 2 * time.Second}).Sign(t.Context(), []byte("hello"))
	return err
}

func TestFaultyProviderPausesThePoolAndComesBack(t *testing.T) {
	p := newServer(t)
	var broken atomic.Bool
	p.signer.before = func(context.Context, int64, []byte) error {
		if broken.Load() {
			return capsign.TokenAbsent
		}
		return nil
	}
	p.startWorker(t)
	broken.Store(true)
	began := time.Now()
	if err := p.signs(t); !errors.Is(err, capsign.TokenAbsent) {
		t.Errorf("error %v, want %s", err, capsign.TokenAbsent)
	}
	if waited := time.Since(began); waited > 2*time.Second {
		t.Errorf("the code came after %v", waited)
	}
	tries := p.signer.signed.Load()
	for range 20 {
		if err := p.signs(t); !errors.Is(err, capsign.TokenAbsent) {
			t.Fatalf("error %v, want %s", err, capsign.TokenAbsent)
		}
	}
	if more := p.signer.signed.Load() - tries; more > 5 {
		t.Errorf("a paused worker asked its provider %d times", more)
	}
	broken.Store(false)
	eventually(t, "the pool is ready again", func() bool { return p.record(t).State == capsign.PoolReady })
	if err := p.signs(t); err != nil {
		t.Error(err)
	}
}

// A pipeline that has waited in vain is told what it waited for.
func TestPipelineIsToldWhyNothingCame(t *testing.T) {
	p := newServer(t)
	p.signer.before = func(context.Context, int64, []byte) error { return capsign.TokenAbsent }
	p.startWorker(t)
	items := func(yield func(capsign.Item) bool) { yield(capsign.Item{Message: []byte("hello")}) }
	for _, err := range p.client(t, capsign.ClientConfig{Timeout: 2 * time.Second}).SignAll(t.Context(), items) {
		if !errors.Is(err, capsign.TokenAbsent) {
			t.Errorf("error %v, want %s", err, capsign.TokenAbsent)
		}
	}
}

func TestOneFaultyWorkerDoesNotPauseThePool(t *testing.T) {
	p := newPool(t)
	bad := newMemorySigner(t, "cap-signing")
	bad.key, bad.seed = p.signer.key, p.signer.seed
	bad.before = func(context.Context, int64, []byte) error { return capsign.TokenAbsent }
	p.config.Signer = bad
	p.startWorker(t)
	for range 50 {
		if err := p.signs(t); err != nil {
			t.Fatal(err)
		}
	}
	if pool := p.record(t); pool.State != capsign.PoolReady {
		t.Errorf("the pool says %s, %s", pool.State, pool.Code)
	}
	workers, err := capsign.FetchWorkers(t.Context(), p.nc, "default")
	states := map[capsign.PoolState]int{}
	for _, w := range workers {
		states[w.State]++
	}
	if err != nil || len(workers) != 2 || bad.signed.Load() > 0 && states[capsign.PoolPaused] != 1 {
		t.Errorf("workers %+v, %v", workers, err)
	}
}

func TestPausedByOperatorUntilResumed(t *testing.T) {
	p := newPool(t)
	pool, err := capsign.PausePool(t.Context(), p.nc, "default")
	if err != nil || pool.Code != capsign.PausedByOperator {
		t.Fatalf("pool %+v, %v", pool, err)
	}
	if err := p.signs(t); !errors.Is(err, capsign.PausedByOperator) {
		t.Errorf("error %v, want %s", err, capsign.PausedByOperator)
	}
	req := p.newRequest()
	p.publish(t, p.subject(capsign.Express), encode(t, req)) // one that does not ask first
	p.startWorker(t)                                         // a restart resumes nothing
	time.Sleep(300 * time.Millisecond)
	if pool := p.record(t); pool.Code != capsign.PausedByOperator || p.signer.signed.Load() != 0 {
		t.Errorf("after a restart the pool says %s, %s; %d signatures", pool.State, pool.Code, p.signer.signed.Load())
	}
	if pool, err = capsign.ResumePool(t.Context(), p.nc, "default"); err != nil || pool.State != capsign.PoolReady {
		t.Fatalf("pool %+v, %v", pool, err)
	}
	p.result(t, req.ID)
	if err := p.signs(t); err != nil {
		t.Error(err)
	}
}

func TestIntegrityStopsThePoolUntilResumed(t *testing.T) {
	p := newServer(t)
	p.config.VerifySignatures = true
	var wrong atomic.Bool
	wrong.Store(true)
	p.config.Signer = flipping{p.signer, &wrong}
	p.startWorker(t)
	second := p.startWorker(t)
	if err := p.signs(t); !errors.Is(err, capsign.Integrity) {
		t.Fatalf("error %v, want %s", err, capsign.Integrity)
	}
	wrong.Store(false)
	eventually(t, "both workers stand still", func() bool {
		workers, err := capsign.FetchWorkers(t.Context(), p.nc, "default")
		return err == nil && len(workers) == 2 && workers[0].Code == capsign.Integrity && workers[1].Code == capsign.Integrity
	})
	stop(t, second)
	if err := p.signs(t); !errors.Is(err, capsign.Integrity) {
		t.Errorf("error %v, want %s", err, capsign.Integrity)
	}
	if _, err := capsign.ResumePool(t.Context(), p.nc, "default"); err != nil {
		t.Fatal(err)
	}
	if err := p.signs(t); err != nil {
		t.Error(err)
	}
}

// flipping spoils signatures while it is told to.
type flipping struct {
	*memorySigner
	wrong *atomic.Bool
}

func (f flipping) Sign(ctx context.Context, kid string, msg []byte) (capsign.Signature, error) {
	sig, err := f.memorySigner.Sign(ctx, kid, msg)
	if err == nil && f.wrong.Load() {
		sig.Bytes[0] ^= 1
	}
	return sig, err
}

func TestWorkerGivesUpWhatOnlyANewProcessMends(t *testing.T) {
	for _, code := range []capsign.Code{capsign.PINIncorrect, capsign.TokenLocked, capsign.ProviderHung} {
		t.Run(string(code), func(t *testing.T) {
			p := newServer(t)
			p.signer.before = func(context.Context, int64, []byte) error { return code }
			worker := p.startWorker(t)
			if err := p.signs(t); !errors.Is(err, code) {
				t.Errorf("error %v, want %s", err, code)
			}
			select {
			case err := <-worker.Failed():
				if !errors.Is(err, code) {
					t.Errorf("failed with %v, want %s", err, code)
				}
			case <-time.After(5 * time.Second):
				t.Error("the worker goes on")
			}
			if code.Fate() == capsign.FateLatched && p.signer.signed.Load() != 1 {
				t.Errorf("the provider was asked %d times", p.signer.signed.Load())
			}
			if n := p.waiting(t); n != 1 {
				t.Errorf("%d requests in the queue, want the one", n)
			}
		})
	}
}

// A provider that comes back must not undo what an operator has said meanwhile.
func TestRecoveryIsNoResume(t *testing.T) {
	p := newServer(t)
	var broken atomic.Bool
	broken.Store(true)
	p.signer.before = func(context.Context, int64, []byte) error {
		if broken.Load() {
			return capsign.TokenAbsent
		}
		return nil
	}
	p.startWorker(t)
	if err := p.signs(t); !errors.Is(err, capsign.TokenAbsent) {
		t.Fatalf("error %v, want %s", err, capsign.TokenAbsent)
	}
	if _, err := capsign.PausePool(t.Context(), p.nc, "default"); err != nil {
		t.Fatal(err)
	}
	broken.Store(false)
	signed := p.signer.signed.Load()
	eventually(t, "the provider has signed a canary", func() bool { return p.signer.signed.Load() > signed })
	time.Sleep(200 * time.Millisecond)
	if pool := p.record(t); pool.Code != capsign.PausedByOperator {
		t.Errorf("the pool says %s, %s", pool.State, pool.Code)
	}
}

// A worker whose provider is well says so where another has spoken for the pool.
func TestReadyWorkerCorrectsThePoolsRecord(t *testing.T) {
	p := newPool(t)
	p.putPool(t, capsign.PoolPaused, capsign.TokenAbsent)
	eventually(t, "the pool is ready", func() bool { return p.record(t).State == capsign.PoolReady })
}

func TestPausedWorkerAsksForNothing(t *testing.T) {
	p := newPool(t)
	if _, err := capsign.PausePool(t.Context(), p.nc, "default"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the worker is paused", func() bool {
		workers, err := capsign.FetchWorkers(t.Context(), p.nc, "default")
		return err == nil && len(workers) == 1 && workers[0].State == capsign.PoolPaused
	})
	asks, err := p.nc.SubscribeSync("$JS.API.CONSUMER.MSG.NEXT.>")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second) // longer than the broker may keep silent
	if n, _, err := asks.Pending(); n != 0 || err != nil {
		t.Errorf("asked %d times, %v", n, err)
	}
}

// growing is a signer whose backend may hold further versions.
type growing struct {
	*memorySigner
	backend *backend
	seen    *sync.Map // by kid
}

// backend is what several workers share.
type backend struct {
	mu       sync.Mutex
	versions []*memorySigner
}

// add puts a further version into the backend.
func (b *backend) add(v *memorySigner) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.versions = append(b.versions, v)
}

// all returns the versions in the backend.
func (b *backend) all() []*memorySigner {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.versions)
}

func (g *growing) Sign(ctx context.Context, kid string, msg []byte) (capsign.Signature, error) {
	if other, ok := g.seen.Load(kid); ok {
		return other.(*memorySigner).Sign(ctx, kid, msg)
	}
	return g.memorySigner.Sign(ctx, kid, msg)
}

func (g *growing) Generate(ctx context.Context) (string, error) {
	made := newMemorySigner(&testing.B{}, g.key.Name)
	g.backend.add(made)
	return made.key.KID, g.Reload(ctx)
}

func (g *growing) Reload(context.Context) error {
	for _, v := range g.backend.all() {
		g.seen.Store(v.key.KID, v)
	}
	return nil
}

func (g *growing) ListKIDs(context.Context) ([]string, error) {
	kids := []string{g.key.KID}
	g.seen.Range(func(kid, _ any) bool { kids = append(kids, kid.(string)); return true })
	return kids, nil
}

func (g *growing) PublicKey(_ context.Context, kid string) (capsign.Key, error) {
	if kid == g.key.KID {
		return g.key, nil
	}
	if v, ok := g.seen.Load(kid); ok {
		return v.(*memorySigner).key, nil
	}
	return capsign.Key{}, capsign.KIDUnknown
}

func TestGeneratedVersionSignsInAllWorkers(t *testing.T) {
	p := newServer(t)
	shared := new(backend)
	for range 3 {
		g := &growing{p.signer, shared, new(sync.Map)}
		p.config.Signer, p.config.Versions, p.config.AllowGenerate = g, g, true
		p.startWorker(t)
	}
	kid, err := capsign.GenerateKey(t.Context(), p.nc, "default")
	if err != nil {
		t.Fatal(err)
	}
	client, pinned := p.client(t, capsign.ClientConfig{}), p.client(t, capsign.ClientConfig{KID: kid})
	eventually(t, "every worker signs with it", func() bool {
		for range 20 {
			signed, err := pinned.Sign(t.Context(), []byte("hello"))
			if err != nil || signed.KID != kid {
				return false
			}
		}
		return true
	})
	if signed, err := client.Sign(t.Context(), []byte("hello")); err != nil || signed.KID != p.signer.key.KID {
		t.Errorf("signed by %s, %v; the current version was to stay", signed.KID, err)
	}
	checks, err := capsign.CheckKeys(t.Context(), p.nc, "default")
	if err != nil || len(checks) != 2 || checks[0].Code != "" || checks[1].Code != "" {
		t.Errorf("checks %+v, %v", checks, err)
	}
}

func TestGenerateIsDeniedUnlessAllowed(t *testing.T) {
	p := newServer(t)
	g := &growing{p.signer, new(backend), new(sync.Map)}
	p.config.Signer, p.config.Versions = g, g
	worker := p.startWorker(t)
	if _, err := capsign.GenerateKey(t.Context(), p.nc, "default"); !errors.Is(err, capsign.Denied) {
		t.Errorf("error %v, want %s", err, capsign.Denied)
	}
	stop(t, worker)
	if _, err := capsign.GenerateKey(t.Context(), p.nc, "default"); !errors.Is(err, capsign.NoWorker) {
		t.Errorf("error %v, want %s", err, capsign.NoWorker)
	}
	if _, err := capsign.CheckKeys(t.Context(), p.nc, "other"); !errors.Is(err, capsign.PoolUnknown) {
		t.Errorf("error %v, want %s", err, capsign.PoolUnknown)
	}
}

// A worker may publish results; nobody else may have it do so.
func TestAdminAnswersGoToInboxesOnly(t *testing.T) {
	p := newPool(t)
	req := p.newRequest()
	subject := capsign.StoreSubject(req.Tenant, req.ID)
	for _, ask := range []string{
		capsign.AdminSubject("default", capsign.AdminCheck), capsign.AdminSubject("default", capsign.AdminGenerate),
		capsign.WorkerSubject("default"), "cap.worker.default.tally",
	} {
		if err := p.nc.PublishRequest(ask, subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.signs(t); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	if n := p.messages(t, capsign.ResultsStream); n != 1 {
		t.Errorf("%d messages in the results, want the one result", n)
	}
}

var _ queue.Versions = (*growing)(nil)
