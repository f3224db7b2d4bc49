package cli_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/broker/embedded"
	"github.com/capsign/cap/internal/providers/software"
	"github.com/capsign/cap/internal/queue"
)

// startSites starts the brokers that the scripts use, until the test ends, and
// returns the variables that lead to them:
//
//	NATS_URL   one pool: default, with one Ed25519 key
//	NATS_MANY  four pools: batch, a key of two versions; release, a P-256 key;
//	           idle, whose worker is gone; paused, which waits for a passphrase
//	NATS_BARE  JetStream, but no worker has ever been there
//	NATS_MUTE  accepts connections and says nothing; NATS_MUTES is forty of those
//	NATS_DEAD  nobody listens
//	NATS_CLOSED, NATS_GUEST, NATS_READER, NATS_VIEWER
//	           lets nobody in without a password; lets guests do nothing,
//	           readers anything but ask for signatures, and viewers anything
//	           but ask workers and change pools, of which they see hsm
//	NATS_OPS, NATS_ROGUE
//	           operators' pools, and one of hostile records: operators_test.go
//	NATS_LETTERS
//	           a pool with dead letters: dead_test.go
//	NATS_ROTTEN
//	           pools whose keys do not all sign: rotation_test.go
//	OTLP_GOOD  a collector, whose spans are in the file at SPANS
func startSites(t *testing.T) []string {
	t.Helper()
	one, many, bare := startBroker(t), startBroker(t), startBroker(t)
	startWorker(t, one, "default", newKeys(t, "cap-signing", capsign.Ed25519, 1))
	startWorker(t, many, "batch", newKeys(t, "cap-signing", capsign.Ed25519, 2))
	release := newKeys(t, "release-key", capsign.ES256, 1)
	startWorker(t, many, "release", release)
	stopWorker(t, startWorker(t, many, "idle", newKeys(t, "idle-key", capsign.Ed25519, 1)))
	pauseTwin(t, many, release)
	guarded, mute := startGuarded(t, startDefault), muteAddress(t)
	collector, spans := startCollector(t)
	return []string{
		"NATS_CLOSED=nats://" + guarded, "NATS_GUEST=nats://guest:hunter2@" + guarded,
		"NATS_READER=nats://reader:hunter2@" + guarded, "NATS_VIEWER=nats://viewer:hunter2@" + startGuarded(t, startToken),
		"NATS_OPS=" + startOperators(t), "NATS_ROGUE=" + startRogue(t), "NATS_ROTTEN=" + startRotten(t),
		"NATS_LETTERS=" + startLetters(t),
		"OTLP_GOOD=" + collector, "SPANS=" + spans,
		"NATS_URL=" + one.URL(), "NATS_MANY=" + many.URL(), "NATS_BARE=" + bare.URL(),
		"NATS_MUTE=" + mute, "NATS_MUTES=" + strings.Repeat(mute+",", 39) + mute, "NATS_DEAD=" + deadAddress(t),
	}
}

// startBroker starts a broker on a free port.
func startBroker(t *testing.T) *embedded.Server {
	t.Helper()
	server, err := embedded.Start(embedded.Options{
		Listen: "127.0.0.1:0", StoreDir: t.TempDir(), LazySync: true, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

// startGuarded starts a broker with users and a pool that work serves, and
// returns its host and port.
func startGuarded(t *testing.T, work func(*testing.T, *nats.Conn)) string {
	t.Helper()
	deny := func(subjects ...string) *server.Permissions {
		return &server.Permissions{Publish: &server.SubjectPermission{Deny: subjects}}
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		Users: []*server.User{
			{Username: "worker", Password: "hunter2"},
			{Username: "guest", Password: "hunter2", Permissions: deny(">")},
			{Username: "reader", Password: "hunter2", Permissions: deny("cap.job.>")},
			{Username: "viewer", Password: "hunter2", Permissions: deny("cap.admin.>", "cap.worker.>", "$KV.CAP_POOLS.>")},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the guarded broker does not start")
	}
	address := s.Addr().String()
	nc, err := nats.Connect("nats://worker:hunter2@" + address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	work(t, nc)
	return address
}

// startDefault serves the pool called default.
func startDefault(t *testing.T, nc *nats.Conn) {
	t.Helper()
	serve(t, nc, "default", newKeys(t, "cap-signing", capsign.Ed25519, 1))
}

// connect returns a connection that ends with the test.
func connect(t *testing.T, server *embedded.Server) *nats.Conn {
	t.Helper()
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// newKeys opens a provider with so many versions of a fresh key.
func newKeys(t *testing.T, name string, alg capsign.Alg, versions int) *software.Provider {
	t.Helper()
	cfg := software.Config{Dir: t.TempDir() + "/keys", KeyName: name, Alg: alg}
	for range versions {
		if _, err := software.Generate(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	}
	provider, err := software.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Close() })
	return provider
}

// keysOf returns a provider's key versions.
func keysOf(t *testing.T, provider *software.Provider) []capsign.Key {
	t.Helper()
	kids, err := provider.ListKIDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var keys []capsign.Key
	for _, kid := range kids {
		key, err := provider.PublicKey(t.Context(), kid)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

// startWorker serves a pool on an embedded broker.
func startWorker(t *testing.T, server *embedded.Server, pool string, provider *software.Provider) *queue.Worker {
	t.Helper()
	return serve(t, connect(t, server), pool, provider)
}

// serve serves a pool until the test ends. The pool called idle is the one that
// its test stops.
func serve(t *testing.T, nc *nats.Conn, pool string, provider *software.Provider) *queue.Worker {
	t.Helper()
	worker := start(t, nc, queue.Config{
		Pool: pool, Provider: provider.ProviderID(), Signer: provider, Keys: keysOf(t, provider),
	})
	if pool != "idle" {
		t.Cleanup(func() { stopWorker(t, worker) })
	}
	return worker
}

// start starts a worker.
func start(t *testing.T, nc *nats.Conn, cfg queue.Config) *queue.Worker {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	worker, err := queue.Start(t.Context(), nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return worker
}

// stopWorker stops a worker that has nothing left to do.
func stopWorker(t *testing.T, worker *queue.Worker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := worker.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// pauseTwin announces a pool that is paused and holds a provider's key under
// another name: two kids that share their fingerprints.
func pauseTwin(t *testing.T, server *embedded.Server, provider *software.Provider) {
	t.Helper()
	original := keysOf(t, provider)[0]
	twin, err := capsign.NewKey(original.Alg, original.SPKI, original.Provider, "twin-key")
	if err != nil {
		t.Fatal(err)
	}
	twin.Class, twin.Version = original.Class, original.Version
	twin.Pool, twin.State = "paused", capsign.Active
	put(t, server, capsign.KeysBucket, twin.KID, twin)
	put(t, server, capsign.PoolsBucket, "paused", capsign.Pool{
		V: capsign.Version, Name: "paused", Provider: capsign.ProviderSoftware,
		State: capsign.PoolPaused, Code: capsign.PassphraseIncorrect, Since: time.Now().UTC(),
		Current: map[string]string{twin.Name: twin.KID},
	})
}

// put writes a record into a bucket.
func put(t *testing.T, server *embedded.Server, bucket, name string, record interface{ Encode() ([]byte, error) }) {
	t.Helper()
	data, err := record.Encode()
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(connect(t, server))
	if err != nil {
		t.Fatal(err)
	}
	kv, err := js.KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), name, data); err != nil {
		t.Fatal(err)
	}
}
