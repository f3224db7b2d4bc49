package cli_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

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
//	NATS_MUTE  accepts connections and says nothing
//	NATS_DEAD  nobody listens
func startSites(t *testing.T) []string {
	t.Helper()
	one, many, bare := startBroker(t), startBroker(t), startBroker(t)
	startWorker(t, one, "default", newKeys(t, "cap-signing", capsign.Ed25519, 1))
	startWorker(t, many, "batch", newKeys(t, "cap-signing", capsign.Ed25519, 2))
	release := newKeys(t, "release-key", capsign.ES256, 1)
	startWorker(t, many, "release", release)
	stopWorker(t, startWorker(t, many, "idle", newKeys(t, "idle-key", capsign.Ed25519, 1)))
	pauseTwin(t, many, release)
	return []string{
		"NATS_URL=" + one.URL(), "NATS_MANY=" + many.URL(), "NATS_BARE=" + bare.URL(),
		"NATS_MUTE=" + muteAddress(t), "NATS_DEAD=" + deadAddress(t),
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

// startWorker serves a pool until the test ends or stopWorker is called.
func startWorker(t *testing.T, server *embedded.Server, pool string, provider *software.Provider) *queue.Worker {
	t.Helper()
	worker, err := queue.Start(t.Context(), connect(t, server), queue.Config{
		Pool: pool, Provider: provider.ProviderID(), Signer: provider, Keys: keysOf(t, provider),
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if pool != "idle" {
		t.Cleanup(func() { stopWorker(t, worker) })
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

// muteAddress is where connections are accepted and nothing is said.
func muteAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go io.Copy(io.Discard, conn) //nolint:errcheck // until the client gives up
		}
	}()
	return "nats://" + listener.Addr().String()
}

// deadAddress is where nobody listens.
func deadAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // it has no connections
	return "nats://" + listener.Addr().String()
}
