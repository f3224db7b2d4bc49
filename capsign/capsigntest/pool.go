// Package capsigntest gives a publisher's own tests a real pool: a NATS
// JetStream server and a worker with a software key, inside the test's process.
package capsigntest

import (
	"cmp"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/broker/embedded"
	"github.com/capsign/cap/internal/providers/software"
	"github.com/capsign/cap/internal/queue"
)

// Config says what kind of pool a test needs. The zero value is a pool named
// "default" with one Ed25519 key named "cap-signing".
type Config struct {
	// Name is the pool's name; empty means "default".
	Name string
	// KeyName is the name of its key; empty means "cap-signing".
	KeyName string
	// Alg is the key's algorithm, capsign.Ed25519 or capsign.ES256; empty means
	// capsign.Ed25519.
	Alg capsign.Alg
}

// Pool is a running server and worker.
type Pool struct {
	// Conn is a connection to the server.
	Conn *nats.Conn
	// Key is the key version that signs.
	Key capsign.Key
}

// NewPool starts a pool of the zero [Config], which ends with the test.
func NewPool(t testing.TB) *Pool {
	t.Helper()
	return Config{}.NewPool(t)
}

// NewPool starts a pool, which ends with the test. The server listens nowhere:
// it is reached through Conn alone, and loses nothing to a crash that the test
// could notice.
func (cfg Config) NewPool(t testing.TB) *Pool {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	server, err := embedded.Start(embedded.Options{StoreDir: t.TempDir(), LazySync: true, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	key, provider := newKey(t, cfg)
	start(t, connect(t, server), queue.Config{
		Pool: cmp.Or(cfg.Name, "default"), Provider: provider.ProviderID(),
		Signer: provider, Keys: []capsign.Key{key}, Log: quiet,
	})
	return &Pool{Conn: connect(t, server), Key: key}
}

// Client returns a client of the pool's key, which ends with the test.
func (p *Pool) Client(t testing.TB) *capsign.Client {
	t.Helper()
	client, err := capsign.NewClient(t.Context(), p.Conn, capsign.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// newKey generates the pool's key in a temporary directory.
func newKey(t testing.TB, cfg Config) (capsign.Key, *software.Provider) {
	t.Helper()
	keys := software.Config{Dir: t.TempDir(), KeyName: cmp.Or(cfg.KeyName, "cap-signing"), Alg: cfg.Alg}
	kid, err := software.Generate(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	provider, err := software.Open(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Close() })
	key, err := provider.PublicKey(t.Context(), kid)
	if err != nil {
		t.Fatal(err)
	}
	return key, provider
}

// connect returns a connection that ends with the test.
func connect(t testing.TB, server *embedded.Server) *nats.Conn {
	t.Helper()
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// start starts a worker that ends with the test.
func start(t testing.TB, nc *nats.Conn, cfg queue.Config) {
	t.Helper()
	worker, err := queue.Start(t.Context(), nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := worker.Stop(ctx); err != nil {
			t.Errorf("capsigntest: %v", err)
		}
	})
}
