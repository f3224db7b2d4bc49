package rotation

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

// run follows the store until ctx ends: it is told of changes, reads anew after
// every reconnect, and from time to time in any case.
func (f *Follower) run(ctx context.Context, watcher jetstream.KeyWatcher) {
	defer watcher.Stop() //nolint:errcheck // the connection is closed, if it fails
	status := f.nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING)
	defer f.nc.RemoveStatusListener(status)
	poll, clock := time.NewTicker(f.pollTime()), time.NewTicker(tick)
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

// pollTime returns how often the store is read: three times before the
// follower's word would be stale.
func (f *Follower) pollTime() time.Duration {
	return max(tick, min(pollEvery, f.cfg.MaxStale/3))
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
