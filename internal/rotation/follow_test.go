package rotation_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// follow starts a follower that believes the world's root.
func (w *world) follow(c *clock, path string) *rotation.Follower {
	w.t.Helper()
	f, err := rotation.Follow(w.t.Context(), w.nc, rotation.FollowConfig{
		Trust: w.pinned().Trust, MarkPath: path, MaxStale: time.Minute, Log: slog.New(slog.DiscardHandler), Clock: c.read,
	})
	must(w.t, err)
	return f
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for !ok() {
		if ctx.Err() != nil {
			t.Fatalf("not so: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestFollowerObeysKeyringAndClock(t *testing.T) {
	w := newWorld(t)
	c := &clock{now: w.now}
	path := filepath.Join(t.TempDir(), "keyring.json")
	f := w.follow(c, path)
	if _, err := f.Active("cap-signing"); !errors.Is(err, capsign.KeyringMissing) {
		t.Errorf("before the first keyring: %v", err)
	}
	w.init()
	k1, k2 := w.keys[0].KID, w.keys[1].KID
	active := func(want string) func() bool {
		return func() bool { kid, err := f.Active("cap-signing"); return err == nil && kid == want }
	}
	eventually(t, "k1 is active", active(k1))
	if err := f.MaySign("cap-signing", k2); !errors.Is(err, capsign.KIDUnknown) {
		t.Errorf("a kid that is not in the keyring: %v", err)
	}
	if kid, err := f.Active("another-key"); kid != "" || err != nil {
		t.Errorf("a key that is not in the keyring: %q, %v", kid, err)
	}

	second := w.rotate(1, 30*time.Second)
	t1 := second.Keyring().Keys[0].T1
	eventually(t, "k2 is active", active(k2))
	if err := f.MaySign("cap-signing", k1); !errors.Is(err, capsign.Denied) {
		t.Errorf("an accepted kid: %v", err)
	}
	c.set(t1.Add(-1))
	if err := f.MaySign("cap-signing", k1); !errors.Is(err, capsign.Denied) {
		t.Errorf("just before T1: %v", err)
	}
	c.set(t1)
	if err := f.MaySign("cap-signing", k1); !errors.Is(err, capsign.KeyRetired) {
		t.Errorf("at T1: %v", err)
	}
	c.set(t1.Add(-time.Second)) // a clock that steps back revives nothing
	if err := f.MaySign("cap-signing", k1); !errors.Is(err, capsign.KeyRetired) {
		t.Errorf("after the clock stepped back: %v", err)
	}
	must(t, f.Close())
	f = w.follow(c, path) // nor does a restart
	if err := f.MaySign("cap-signing", k1); !errors.Is(err, capsign.KeyRetired) {
		t.Errorf("after a restart: %v", err)
	}
	c.set(second.Keyring().Expires)
	if _, err := f.Active("cap-signing"); !errors.Is(err, capsign.KeyringExpired) {
		t.Errorf("at its expiry: %v", err)
	}
	must(t, f.Close())
}

func TestFollowerThatCannotReadSignsNothing(t *testing.T) {
	w := newWorld(t)
	w.init()
	c := &clock{now: w.now}
	f := w.follow(c, filepath.Join(t.TempDir(), "keyring.json"))
	defer f.Close() //nolint:errcheck // checked elsewhere
	if _, err := f.Active("cap-signing"); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(w.nc)
	must(t, err)
	must(t, js.DeleteKeyValue(t.Context(), capsign.KeyringBucket)) // reading fails from now on
	c.set(w.now.Add(time.Minute))
	if _, err := f.Active("cap-signing"); err != nil {
		t.Errorf("within max_stale: %v", err)
	}
	c.set(w.now.Add(time.Minute + 1))
	if _, err := f.Active("cap-signing"); !errors.Is(err, capsign.KeyringStale) {
		t.Errorf("beyond max_stale: %v", err)
	}
}

func TestUnpinnedFollowerKeepsItsFirstRoots(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "keyring.json")
	follow := func() *rotation.Follower {
		f, err := rotation.Follow(t.Context(), w.nc, rotation.FollowConfig{MarkPath: path, MaxStale: time.Minute, Log: slog.New(slog.DiscardHandler)})
		must(t, err)
		return f
	}
	f := follow()
	if kid, err := f.Active("cap-signing"); kid != "" || err != nil {
		t.Errorf("without a keyring: %q, %v", kid, err)
	}
	first := w.init()
	eventually(t, "the keyring is there", func() bool { return f.Keyring() != nil })
	must(t, f.Close())
	stranger := newRoot(t)
	forged := *first.Keyring()
	forged.Roots = roots(stranger)
	other, err := rotation.Sign(t.Context(), forged, stranger)
	must(t, err)
	encoded, err := other.Encode()
	must(t, err)
	w.put(1, encoded)
	f = follow()
	if got := f.Keyring(); got == nil || got.Hash() != first.Hash() {
		t.Errorf("another's keyring was believed: %v", got)
	}
	must(t, f.Close())
}

func TestFollowerReadsBeforeItsWordIsStale(t *testing.T) {
	w := newWorld(t)
	c := &clock{now: w.now}
	w.init()
	f, err := rotation.Follow(t.Context(), w.nc, rotation.FollowConfig{
		Trust: w.pinned().Trust, MarkPath: filepath.Join(t.TempDir(), "keyring.json"), MaxStale: 600 * time.Millisecond,
		Log: slog.New(slog.DiscardHandler), Clock: c.read,
	})
	must(t, err)
	defer f.Close() //nolint:errcheck // nothing is kept
	began := time.Now()
	for i := range 3 { // it is told of nothing, and reads three times as often
		c.set(w.now.Add(time.Duration(i+1) * time.Second))
		eventually(t, "the keyring is confirmed again", func() bool {
			_, err := f.Active("cap-signing")
			return err == nil
		})
	}
	if took := time.Since(began); took > 9*time.Second { // thrice ten seconds, where max_stale does not count
		t.Errorf("confirmed three times in %v", took)
	}
}
