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
	// pollEvery is how often a follower reads the store, beside being told of
	// changes.
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

// Active returns the kid that signs for the key, or "" where no keyring names
// the key and none is required. It wraps capsign.KeyringMissing where one is
// required, capsign.KeyringStale where it may be out of date, and
// capsign.KeyringExpired.
func (f *Follower) Active(name string) (kid string, err error) {
	rotation, _, err := f.rotation(name)
	if err != nil || rotation == nil {
		return "", err
	}
	return rotation.Active(), nil
}

// MaySign says whether a kid that a request names may sign for the key: the
// active one may, an accepted one where the keyring lets it, no other. It wraps
// what Active wraps, capsign.KeyRetired, capsign.KeyRevoked, capsign.Denied for
// an accepted kid, or capsign.KIDUnknown.
func (f *Follower) MaySign(name, kid string) error {
	rotation, now, err := f.rotation(name)
	if err != nil || rotation == nil {
		return err
	}
	state, err := f.Keyring().Keyring().State(kid, now)
	switch {
	case err != nil:
		return err
	case state == capsign.Active, state == capsign.Accepted && rotation.SignAccepted:
		return nil
	case state == capsign.Accepted:
		return fmt.Errorf("rotation: an accepted kid: %w", capsign.Denied)
	}
	return fmt.Errorf("rotation: %w", capsign.KeyRetired)
}

// State returns what a kid of the key's may do now; Accepted, which lets it
// verify, where no keyring says.
func (f *Follower) State(name, kid string) capsign.State {
	rotation, now, err := f.rotation(name)
	if err != nil || rotation == nil {
		return capsign.Accepted
	}
	return rotation.State(kid, now)
}

// rotation returns what the keyring in force says of the key, or nil where there
// is no keyring or it does not name the key.
func (f *Follower) rotation(name string) (*capsign.KeyRotation, time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	switch {
	case !f.mark.Pinned():
		return nil, now, nil
	case f.mark.Signed != nil && f.mark.Signed.Keyring().Expired(now):
		return nil, now, fmt.Errorf("rotation: %w", capsign.KeyringExpired)
	case f.confirmed.IsZero(), f.cfg.Clock().Sub(f.confirmed) > f.cfg.MaxStale:
		return nil, now, fmt.Errorf("rotation: %w", capsign.KeyringStale)
	case f.mark.Signed == nil:
		return nil, now, fmt.Errorf("rotation: %w", capsign.KeyringMissing)
	}
	rotation, err := f.mark.Signed.Keyring().Rotation(name)
	if err != nil {
		return nil, now, nil // a key that no keyring names is not rotated
	}
	return &rotation, now, nil
}

// now returns the time that counts, which never goes back. The caller holds mu.
func (f *Follower) now() time.Time {
	f.mark.LatestSeen = f.mark.Now(f.cfg.Clock().UTC())
	return f.mark.LatestSeen
}

// run follows the store until ctx ends: it is told of changes, reads anew after
// every reconnect, and from time to time in any case.
func (f *Follower) run(ctx context.Context, watcher jetstream.KeyWatcher) {
	defer watcher.Stop() //nolint:errcheck // the connection is closed, if it fails
	status := f.nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING)
	defer f.nc.RemoveStatusListener(status)
	poll, clock := time.NewTicker(pollEvery), time.NewTicker(tick)
	defer poll.Stop()
	defer clock.Stop()
	updates := watcher.Updates()
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-updates:
			if !open {
				updates = nil
			}
		case s, open := <-status:
			if !open {
				return // the connection is closed for good
			}
			if s != nats.CONNECTED {
				f.doubt()
				continue
			}
		case <-poll.C:
		case <-clock.C:
			f.passTime(ctx)
			continue
		}
		if err := f.read(ctx); err != nil && ctx.Err() == nil {
			f.cfg.Log.WarnContext(ctx, "the keyring cannot be confirmed", "code", string(capsign.CodeOf(err)))
		}
	}
}

// doubt notes that the connection is lost: what is said meanwhile must be read
// before anything else is signed.
func (f *Follower) doubt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.confirmed = time.Time{}
}

// read takes over what the store has now.
func (f *Follower) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	chain, err := f.store.Chain(ctx)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.confirmed = f.cfg.Clock()
	if !f.mark.Pinned() {
		f.pin(ctx, chain)
	}
	newest, refused := f.mark.Advance(chain)
	if refused != nil {
		f.cfg.Log.ErrorContext(ctx, "a keyring on the broker was refused", "code", string(capsign.CodeOf(refused)))
	}
	if newest != nil && (f.mark.Signed == nil || newest.Hash() != f.mark.Signed.Hash()) {
		f.mark.Signed = newest
		k := newest.Keyring()
		f.cfg.Log.InfoContext(ctx, "keyring", "version", k.Version, "action", k.Action, "expires", k.Expires)
		if err := f.save(f.now()); err != nil {
			return err
		}
	}
	f.tell()
	return nil
}

// pin believes the roots of the newest keyring that its own roots have signed.
// The caller holds mu.
func (f *Follower) pin(ctx context.Context, chain []*capsign.SignedKeyring) {
	for i := len(chain) - 1; i >= 0; i-- {
		roots := chain[i].Keyring().Roots
		trust := capsign.Trust{Roots: roots.Fingerprints(), Threshold: roots.Threshold}
		if trust.First(chain[i]) == nil {
			f.mark.Trust = trust
			f.cfg.Log.WarnContext(ctx, "keyring.roots names none: the roots of this keyring are believed from now on", "roots", trust.Roots)
			return
		}
	}
}

// passTime tells of what the passing of time has changed, and writes the time
// down.
func (f *Follower) passTime(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	f.tell()
	if f.mark.Signed != nil && now.Sub(f.saved) > saveEvery {
		if err := f.save(now); err != nil {
			f.cfg.Log.ErrorContext(ctx, "the keyring's mark cannot be written", "code", string(capsign.CodeOf(err)))
		}
	}
}

// save writes the mark down. The caller holds mu.
func (f *Follower) save(now time.Time) error {
	f.saved = now
	if f.mark.Signed == nil {
		return nil // nothing to remember yet
	}
	return f.mark.Save(f.cfg.MarkPath)
}

// tell gives Changed a value where what the keyring says has become another. The
// caller holds mu.
func (f *Follower) tell() {
	stages := f.describe()
	if stages == f.stages {
		return
	}
	f.stages = stages
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// describe returns what the keyring says now, to be compared. The caller holds
// mu.
func (f *Follower) describe() string {
	if f.mark.Signed == nil {
		return ""
	}
	text, now := f.mark.Signed.Hash(), f.now()
	for _, key := range f.mark.Signed.Keyring().Keys {
		text += fmt.Sprintf(" %d", key.Stage(now))
	}
	if f.mark.Signed.Keyring().Expired(now) {
		text += " expired"
	}
	return text
}
