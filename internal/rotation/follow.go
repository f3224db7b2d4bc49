package rotation

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

const (
	// pollEvery is how often a follower reads the store at least, beside being told
	// of changes.
	pollEvery = 10 * time.Second
	// readTime bounds one reading.
	readTime = 5 * time.Second
	// tick is how often the passing of time is looked at.
	tick = 200 * time.Millisecond
	// saveEvery is how often the latest time is written down.
	saveEvery = 30 * time.Second
)

// FollowConfig says whose keyrings a follower believes and what it keeps.
type FollowConfig struct {
	// Trust pins roots. Without any, the roots of the first keyring that is seen
	// are believed from then on: good enough to decide what a worker signs with,
	// not for a verifier.
	Trust capsign.Trust
	// MarkPath is the file of the follower's Mark.
	MarkPath string
	// MaxStale is for how long the follower's word is good after the store could
	// last be read.
	MaxStale time.Duration
	// Replicas is how many servers keep the store if it must be made.
	Replicas int
	// Log receives what an operator should know; it must be given.
	Log *slog.Logger
	// Clock is the time; nil means time.Now.
	Clock func() time.Time
}

// Follower keeps up with the keyrings on a broker and says what they let a
// worker sign. It is safe for concurrent use.
type Follower struct {
	cfg     FollowConfig
	nc      *nats.Conn
	store   *Store
	changed chan struct{}
	end     context.CancelFunc
	running sync.WaitGroup

	mu        sync.Mutex
	mark      Mark
	confirmed time.Time // when the store was last read; zero: it must be before anything is signed
	stages    string    // what was last told of the keys' stages
	saved     time.Time
}

// Follow reads what the follower knew before and what the broker has now, and
// goes on following it until Close. Errors wrap one capsign.Code.
func Follow(ctx context.Context, nc *nats.Conn, cfg FollowConfig) (*Follower, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	mark, err := LoadMark(cfg.MarkPath)
	if err != nil {
		return nil, err
	}
	if len(cfg.Trust.Roots) > 0 {
		mark.Trust = cfg.Trust
	}
	store, err := OpenStore(ctx, nc, cfg.Replicas)
	if err != nil {
		return nil, err
	}
	f := &Follower{cfg: cfg, nc: nc, store: store, mark: mark, changed: make(chan struct{}, 1)}
	if err := f.read(ctx); err != nil {
		return nil, err
	}
	care, end := context.WithCancel(context.WithoutCancel(ctx))
	f.end = end
	watcher, err := store.kv.WatchAll(care, jetstream.UpdatesOnly())
	if err != nil {
		end()
		return nil, fmt.Errorf("rotation: follow: %w", brokerCode(err))
	}
	f.running.Go(func() { f.run(care, watcher) })
	return f, nil
}

// Close ends the follower and writes down what it knows.
func (f *Follower) Close() error {
	f.end()
	f.running.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.save(f.now())
}

// Changed returns a channel that gets a value when the keyring, or what it says
// at the present time, has become another.
func (f *Follower) Changed() <-chan struct{} { return f.changed }

// Keyring returns the keyring in force, or nil where there is none.
func (f *Follower) Keyring() *capsign.SignedKeyring {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mark.Signed
}
