package rotation_test

import (
	"crypto/ed25519"
	"fmt"
	"log/slog"
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
