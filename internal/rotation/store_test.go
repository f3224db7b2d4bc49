package rotation_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/broker/embedded"
	"github.com/capsign/cap/internal/rotation"
)

// world is a broker, a root and keys to rotate.
type world struct {
	t     *testing.T
	nc    *nats.Conn
	kv    jetstream.KeyValue
	store *rotation.Store
	root  rotation.RootSigner
	keys  []capsign.Key
	now   time.Time
	held  *capsign.SignedKeyring
}

// newWorld starts a broker whose store is empty.
func newWorld(t *testing.T) *world {
	t.Helper()
	server, err := embedded.Start(embedded.Options{StoreDir: t.TempDir(), LazySync: true, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(server.Stop)
	nc, err := server.Connect()
	must(t, err)
	t.Cleanup(nc.Close)
	store, err := rotation.OpenStore(t.Context(), nc, 1)
	must(t, err)
	js, err := jetstream.New(nc)
	must(t, err)
	kv, err := js.KeyValue(t.Context(), capsign.KeyringBucket)
	must(t, err)
	w := &world{t: t, nc: nc, kv: kv, store: store, root: newRoot(t), now: time.Now().UTC()}
	for range 4 {
		w.keys = append(w.keys, newKey(t))
	}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newRoot(t *testing.T) rotation.RootSigner {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	root, err := rotation.SoftwareRoot(private)
	must(t, err)
	return root
}

func newKey(t *testing.T) capsign.Key {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	must(t, err)
	spki, err := capsign.MarshalPublicKey(public)
	must(t, err)
	key, err := capsign.NewKey(capsign.Ed25519, spki, capsign.ProviderSoftware, "cap-signing")
	must(t, err)
	key.Pool = "default"
	return key
}

// change is what every change of the tests' has.
func (w *world) change() rotation.Change { return rotation.Change{Reason: "test", Now: w.now} }

// sign signs a keyring with the world's root, or with another.
func (w *world) sign(k capsign.Keyring, err error, by ...rotation.RootSigner) *capsign.SignedKeyring {
	w.t.Helper()
	must(w.t, err)
	if len(by) == 0 {
		by = append(by, w.root)
	}
	signed, err := rotation.Sign(w.t.Context(), k, by...)
	must(w.t, err)
	return signed
}

// init publishes the first keyring.
func (w *world) init() *capsign.SignedKeyring {
	w.t.Helper()
	k, err := rotation.Init(roots(w.root), []capsign.KeyRotation{rotation.FirstVersion(w.keys[0])}, w.change())
	return w.publish(w.sign(k, err))
}

// roots are those of one root.
func roots(root rotation.RootSigner) capsign.Roots {
	return capsign.Roots{Threshold: 1, Keys: []capsign.RootKey{root.Public()}}
}

// rotate publishes a rotation to another of the world's keys.
func (w *world) rotate(to int, overlap time.Duration) *capsign.SignedKeyring {
	w.t.Helper()
	return w.publish(w.rotated(w.held, to, overlap))
}

// rotated returns what rotate publishes.
func (w *world) rotated(held *capsign.SignedKeyring, to int, overlap time.Duration) *capsign.SignedKeyring {
	w.t.Helper()
	w.now = w.now.Add(time.Millisecond)
	k, err := rotation.Apply(held, "cap-signing", capsign.VersionOf(w.keys[to]), time.Time{}, overlap, w.change())
	return w.sign(k, err)
}

// publish puts a keyring into the store.
func (w *world) publish(s *capsign.SignedKeyring) *capsign.SignedKeyring {
	w.t.Helper()
	must(w.t, w.store.Publish(w.t.Context(), s))
	w.held = s
	return s
}

// put writes anything anywhere, as whoever has the broker's permission can.
func (w *world) put(version int, value []byte) {
	w.t.Helper()
	_, err := w.kv.Put(w.t.Context(), fmt.Sprint("keyring.v", version), value)
	must(w.t, err)
}

// pinned is a mark that believes the world's root.
func (w *world) pinned() rotation.Mark {
	return rotation.Mark{Trust: capsign.Trust{Roots: []string{w.root.Public().Fingerprint()}}}
}

// latest returns what a verifier with the mark takes from the broker.
func (w *world) latest(m rotation.Mark) (*capsign.SignedKeyring, error) {
	w.t.Helper()
	m, err := rotation.Latest(w.t.Context(), w.nc, m)
	return m.Signed, err
}

// mustHold says that a verifier with the mark believes exactly this keyring.
func (w *world) mustHold(m rotation.Mark, want *capsign.SignedKeyring) {
	w.t.Helper()
	got, err := w.latest(m)
	if err != nil || got.Hash() != want.Hash() {
		w.t.Errorf("believed %v, %v; want version %d", got, err, want.Keyring().Version)
	}
}

func TestTwoOperatorsDoNotOverwriteEachOther(t *testing.T) {
	w := newWorld(t)
	first := w.init()
	one, other := w.rotated(first, 1, time.Hour), w.rotated(first, 2, time.Hour)
	errs := make([]error, 2)
	var both sync.WaitGroup
	for i, s := range []*capsign.SignedKeyring{one, other} {
		both.Go(func() { errs[i] = w.store.Publish(t.Context(), s) })
	}
	both.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), capsign.KeyringFork) {
		t.Errorf("publications ended with %v", errs)
	}
	winner := one
	if errs[0] != nil {
		winner = other
	}
	must(t, w.store.Publish(t.Context(), winner)) // once more changes nothing
	w.mustHold(w.pinned(), winner)
}

// Whoever may write to the bucket can put anything there before the operator
// does, and after.
func TestWhatStrangersWriteChangesNothing(t *testing.T) {
	w := newWorld(t)
	stranger := newRoot(t)
	own, err := rotation.Init(roots(stranger), []capsign.KeyRotation{rotation.FirstVersion(w.keys[3])}, w.change())
	strangers := w.sign(own, err, stranger)
	encoded, err := strangers.Encode()
	must(t, err)

	w.put(1, encoded) // squatted before the operator has begun
	if got, err := w.latest(w.pinned()); !errors.Is(err, capsign.KeyringUntrusted) {
		t.Errorf("a stranger's keyring gave %v, %v", got, err)
	}
	first := w.init()
	w.mustHold(w.pinned(), first)

	w.put(2, []byte("garbage")) // the next version's place
	second := w.rotate(1, time.Hour)
	w.mustHold(w.pinned(), second)

	held := w.pinned()
	held.Signed = second
	leap := *second.Keyring()
	leap.Version, leap.Previous, leap.Roots = 7, second.Hash(), roots(stranger)
	leapt, err := w.sign(leap, nil, stranger).Encode()
	must(t, err)
	w.put(7, leapt) // signed, but not by whom the held one names
	w.mustHold(held, second)
	w.mustHold(w.pinned(), second)
	must(t, w.kv.Purge(t.Context(), "keyring.v7"))

	forged := *second.Keyring()
	forged.Version, forged.Previous = 3, second.Hash()
	unsigned, err := capsign.NewSignedKeyring(forged)
	must(t, err)
	noSignature, err := unsigned.Encode()
	must(t, err)
	old, err := first.Encode()
	must(t, err)
	for name, value := range map[string][]byte{
		"garbage": []byte("{}"), "nothing": {}, "a stranger's": encoded, "unsigned": noSignature, "an older one": old,
		"large": bytes.Repeat([]byte("x"), 1<<19),
	} {
		for _, version := range []int{1, 2, 3, 4, 999} {
			w.put(version, value)
		}
		w.mustHold(held, second)
		if got, err := w.latest(w.pinned()); err == nil && got.Hash() != first.Hash() {
			t.Errorf("%s: a verifier without a mark believed version %d", name, got.Keyring().Version)
		}
	}
	w.put(3, old) // one of the operator's own, in the wrong place
	third := w.rotate(2, time.Hour)
	w.mustHold(held, third)
	w.mustHold(w.pinned(), third)
}

func TestPurgedStoreIsNoWayBack(t *testing.T) {
	w := newWorld(t)
	w.init()
	second := w.rotate(1, time.Hour)
	held := w.pinned()
	held.Signed = second
	for _, name := range []string{"keyring.v1", "keyring.v2"} {
		must(t, w.kv.Purge(t.Context(), name))
	}
	w.mustHold(held, second)
	if _, err := w.latest(w.pinned()); !errors.Is(err, capsign.KeyringMissing) {
		t.Errorf("a pinned verifier without a keyring: %v", err)
	}
	js, err := jetstream.New(w.nc)
	must(t, err)
	must(t, js.DeleteKeyValue(t.Context(), capsign.KeyringBucket))
	w.mustHold(held, second)
	if _, err := w.latest(w.pinned()); !errors.Is(err, capsign.KeyringMissing) {
		t.Errorf("a pinned verifier without a bucket: %v", err)
	}
}

// A laggard goes from what it holds to the newest, even where what is between
// them is lost.
func TestLaggardIsNotStranded(t *testing.T) {
	w := newWorld(t)
	first := w.init()
	w.rotate(1, time.Hour)
	w.rotate(2, time.Hour)
	newest := w.rotate(3, time.Hour)
	held := w.pinned()
	held.Signed = first
	w.mustHold(held, newest)
	must(t, w.kv.Purge(t.Context(), "keyring.v2"))
	w.put(3, []byte("garbage"))
	w.mustHold(held, newest)
}

func TestForkAndReplayHaveTheirCodes(t *testing.T) {
	w := newWorld(t)
	first := w.init()
	one, other := w.rotated(first, 1, time.Hour), w.rotated(first, 2, time.Hour)
	held := w.pinned()
	held.Signed = one
	got, err := held.Advance([]*capsign.SignedKeyring{other})
	if got.Hash() != one.Hash() || !errors.Is(err, capsign.KeyringFork) {
		t.Errorf("a fork: %v, %v", got, err)
	}
	if got, err := held.Advance([]*capsign.SignedKeyring{first}); got.Hash() != one.Hash() || err != nil {
		t.Errorf("an older one: %v, %v", got, err)
	}
}

func TestMarkOutlivesItsProcess(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "state", "keyring.json")
	if m, err := rotation.LoadMark(path); err != nil || m.Pinned() {
		t.Errorf("a mark out of nothing: %+v, %v", m, err)
	}
	want := w.pinned()
	want.Signed, want.LatestSeen = w.init(), w.now.Add(time.Hour)
	must(t, want.Save(path))
	got, err := rotation.LoadMark(path)
	if err != nil || got.Signed.Hash() != want.Signed.Hash() || !got.LatestSeen.Equal(want.LatestSeen) || got.Trust.Roots[0] != want.Trust.Roots[0] {
		t.Errorf("mark %+v became %+v, %v", want, got, err)
	}
	if now := got.Now(w.now); !now.Equal(want.LatestSeen) {
		t.Errorf("the time went back to %v", now)
	}
	if now := (rotation.Mark{Signed: want.Signed}).Now(w.now.Add(-time.Hour)); now.Before(want.Signed.Keyring().Issued) {
		t.Errorf("the time is %v, before the keyring was made", now)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the mark's mode: %v, %v", info.Mode(), err)
	}
	for name, spoil := range map[string]func() error{
		"garbage":             func() error { return os.WriteFile(path, []byte("garbage"), 0o600) },
		"writable for others": func() error { return errors.Join(want.Save(path), os.Chmod(path, 0o666)) },
	} {
		must(t, spoil())
		if _, err := rotation.LoadMark(path); !errors.Is(err, capsign.KeyringUntrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

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
