// Package queue takes signing requests from a pool's jobs stream through their
// whole life: pulled, checked, signed, recorded, stored as a write-once result,
// and only then acknowledged. A crash at any point gives a redelivery, never a second
// released signature.
//
// One request is read downwards: lane.go pulls it, handle.go is its life,
// sign.go asks the Signer, results.go stores the answer.
package queue

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/audit"
)

// Signer is what a worker needs of a key provider.
type Signer interface {
	// CurrentKID returns the kid that signs when a request names none.
	CurrentKID(ctx context.Context) (string, error)
	// Sign signs msg with the key version kid names. It honours ctx's deadline,
	// is safe for concurrent use, and its errors wrap one capsign.Code.
	Sign(ctx context.Context, kid string, msg []byte) (capsign.Signature, error)
}

// Rulings say which key versions may sign. Their errors wrap one capsign.Code.
type Rulings interface {
	// Active returns the kid that signs for a key when a request names none; ""
	// leaves it to the Signer.
	Active(key string) (kid string, err error)
	// MaySign says whether a request that names kid may be signed.
	MaySign(key, kid string) error
	// State returns what a kid may do now.
	State(key, kid string) capsign.State
	// Changed gets a value when any of that has become another.
	Changed() <-chan struct{}
}

// Auditor records what a worker decided.
type Auditor interface {
	// Append returns when the record is on disk. An error wraps
	// capsign.AuditUnavailable, and the decision is then not released.
	Append(ctx context.Context, record audit.Record) error
}

// Config says which pool a worker serves and within which bounds.
type Config struct {
	// Pool is the pool's name.
	Pool string
	// Provider is the id of the provider behind Signer.
	Provider string
	// Signer signs.
	Signer Signer
	// Keys are the key versions that Signer holds.
	Keys []capsign.Key
	// Versions is what Signer can learn and make of further versions; nil means
	// that there are only Keys.
	Versions Versions
	// AllowGenerate lets operators have Versions make a key version through the
	// queue.
	AllowGenerate bool
	// Rulings decide what signs; nil leaves it to Signer.
	Rulings Rulings
	// Root has the worker sign keyrings and nothing else; any other worker signs
	// anything but keyrings.
	Root bool
	// Changed gets a value when Signer's current key, or its list of keys, has
	// become another; nil means never.
	Changed <-chan struct{}
	// SignTimeout bounds one signature; zero means only the request's expiry.
	// Meant for everything but an in-process software key.
	SignTimeout time.Duration
	// VerifySignatures checks each signature against its registered public key
	// before it is stored. Meant for everything but an in-process software key.
	VerifySignatures bool

	// Audit records each decision before it is released; nil records none.
	Audit Auditor

	// Parallelism is how many Sign calls run at once: on the bulk lane, the express
	// lane having as many again and two at least, or on both together with
	// SharedSlots. Zero means one per CPU.
	Parallelism int
	// SharedSlots has the lanes share a Parallelism of eight or more, an eighth of
	// which is kept for the express lane. Meant for everything but an in-process
	// software key.
	SharedSlots bool
	// MaxRate is how many signatures a second the worker asks for at most, to stay
	// within a provider's quota; zero means as many as there are.
	MaxRate int
	// Prefetch is how many requests each lane holds that are not yet being
	// signed; zero means twice Parallelism.
	Prefetch int
	// ExpressAckWait and BulkAckWait are how long after a crash a lane's requests
	// are delivered again; zero means 1 s and 5 s.
	ExpressAckWait, BulkAckWait time.Duration
	// MaxDeliveries is after how many deliveries a request is refused with
	// retries_exhausted and kept as a dead letter; zero means 10.
	MaxDeliveries int

	// ResultKeep is how long results are kept and the latest expiry a request
	// may ask for; zero means 24 hours.
	ResultKeep time.Duration
	// JobsMaxBytes and ResultsMaxBytes bound the streams' sizes when they are
	// created; zero means 1 GiB and 4 GiB.
	JobsMaxBytes, ResultsMaxBytes int64
	// Replicas is how many servers keep each stream; zero means 1.
	Replicas int

	// Version is the worker's version as NATS micro announces it, a semantic
	// version; empty means 0.0.0.
	Version string
	// Log receives one line per refusal and none per success above debug; nil
	// means slog.Default().
	Log *slog.Logger
}

// withDefaults returns cfg with its zero values filled in.
func (cfg Config) withDefaults() Config {
	cfg.Parallelism = cmp.Or(cfg.Parallelism, runtime.NumCPU())
	cfg.Prefetch = cmp.Or(cfg.Prefetch, 2*cfg.Parallelism)
	cfg.ExpressAckWait = cmp.Or(cfg.ExpressAckWait, time.Second)
	cfg.BulkAckWait = cmp.Or(cfg.BulkAckWait, 5*time.Second)
	cfg.MaxDeliveries = cmp.Or(cfg.MaxDeliveries, 10)
	cfg.ResultKeep = cmp.Or(cfg.ResultKeep, 24*time.Hour)
	cfg.JobsMaxBytes = cmp.Or(cfg.JobsMaxBytes, 1<<30)
	cfg.ResultsMaxBytes = cmp.Or(cfg.ResultsMaxBytes, 4<<30)
	cfg.Replicas = cmp.Or(cfg.Replicas, 1)
	cfg.Version = cmp.Or(cfg.Version, "0.0.0")
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	return cfg
}

// defaultSignTimeout bounds a canary where signatures have no bound.
const defaultSignTimeout = 5 * time.Second

// Worker serves one pool. Start makes one.
type Worker struct {
	cfg     Config
	id      string // random
	nc      *nats.Conn
	js      jetstream.JetStream
	keys    *keySet
	gate    *gate
	rate    *rate.Limiter
	results *results
	dead    deadLetters
	tracer  trace.Tracer // looked up once, which costs more than starting a span
	metrics *metrics
	tally   tally
	lanes   []*lane
	service interface{ Stop() error }
	gauging interface{ Unregister() error }
	subs    []*nats.Subscription // operators' questions
	failed  chan error           // holds the one that ends the worker

	abandon context.CancelFunc // ends what is in hand
	running sync.WaitGroup     // the lanes

	care    context.Context //nolint:containedctx // the worker's own life, which ends with Stop
	careEnd context.CancelFunc
	caring  sync.WaitGroup // whatever is neither lane nor request
}

// Start prepares the pool's streams, publishes its keys and state, and begins
// to serve it over nc, which stays the caller's to close after Stop. Errors
// wrap one capsign.Code.
func Start(ctx context.Context, nc *nats.Conn, cfg Config) (*Worker, error) {
	cfg = cfg.withDefaults()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("queue: start: %w", capsign.BrokerUnreachable)
	}
	w := &Worker{
		cfg: cfg, id: rand.Text(), nc: nc, js: js, keys: newKeySet(cfg.Keys), tracer: otel.Tracer(scope), metrics: newMetrics(cfg),
		results: &results{js: js}, dead: deadLetters{js: js}, failed: make(chan error, 1),
	}
	own := newSlots(cfg)
	w.lanes = []*lane{
		newLane(nc, js, cfg, capsign.Express, own[capsign.Express]), newLane(nc, js, cfg, capsign.Bulk, own[capsign.Bulk]),
	}
	w.gate, w.rate = newGate(w.turn), newRate(cfg.MaxRate)
	w.care, w.careEnd = context.WithCancel(context.WithoutCancel(ctx))
	if err := w.open(ctx); err != nil {
		w.careEnd()
		w.caring.Wait()
		return nil, fmt.Errorf("queue: start: %w", err)
	}
	return w, nil
}

// newRate returns what paces signatures, n a second and a tenth of that at once.
func newRate(n int) *rate.Limiter {
	if n == 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(n), max(1, n/10))
}

// open prepares the broker's side, then starts the lanes.
func (w *Worker) open(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		w.provision, w.announce, w.watchPool, w.watchKeys, w.watchSigner, w.startService, w.serveAdmin, w.observe,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	// What is in hand outlives ctx: Stop says how long.
	work, abandon := context.WithCancel(context.WithoutCancel(ctx))
	w.abandon = abandon
	for _, l := range w.lanes {
		if err := l.start(ctx, work, w.handle); err != nil {
			return err
		}
		w.running.Go(func() { l.run(work) })
	}
	w.gate.begin()
	return nil
}

// turn opens or shuts the lanes as the gate is turned.
func (w *Worker) turn(open bool) {
	for _, l := range w.lanes {
		if open {
			l.open()
		} else {
			l.shut()
		}
	}
}

// Stop stops pulling requests and waits until those in hand are answered, or
// until ctx ends: the rest is then abandoned and redelivered to other workers.
// When it returns, no goroutine of the worker's is left.
func (w *Worker) Stop(ctx context.Context) error {
	w.careEnd()
	_ = w.gauging.Unregister() // documented to return nil
	for _, sub := range w.subs {
		_ = sub.Unsubscribe() // the connection is closed, if it fails
	}
	for _, l := range w.lanes {
		l.stop()
	}
	finished := make(chan struct{})
	go func() {
		w.running.Wait()
		w.caring.Wait()
		close(finished)
	}()
	var err error
	select {
	case <-finished:
	case <-ctx.Done():
		err = fmt.Errorf("queue: stop: requests abandoned: %w", context.Cause(ctx))
	}
	w.abandon()
	<-finished
	return errors.Join(err, w.service.Stop())
}
