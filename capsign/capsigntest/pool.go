// Package capsigntest gives a publisher's own tests a real pool: a NATS
// JetStream server and a worker with a software key, inside the test's process.
package capsigntest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
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

	closers []func() error // what Close undoes, in the order it was done
}

// NewPool starts a pool of the zero [Config], which ends with the test.
func NewPool(t testing.TB) *Pool {
	t.Helper()
	return Config{}.NewPool(t)
}

// NewPool starts a pool, which ends with the test.
func (cfg Config) NewPool(t testing.TB) *Pool {
	t.Helper()
	pool, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	})
	return pool
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

// Start starts a pool outside of a test. The server listens nowhere, it is
// reached through Conn alone, and what it and the key leave on disk is gone
// after Close.
func Start(ctx context.Context, cfg Config) (*Pool, error) {
	pool := new(Pool)
	if err := pool.open(ctx, cfg); err != nil {
		return nil, errors.Join(err, pool.Close())
	}
	return pool, nil
}

// open starts the pool's parts, one upon the other.
func (p *Pool) open(ctx context.Context, cfg Config) error {
	dir, err := os.MkdirTemp("", "capsigntest-")
	if err != nil {
		return fmt.Errorf("capsigntest: %w", err)
	}
	p.closers = append(p.closers, func() error { return os.RemoveAll(dir) })
	provider, err := p.openKey(ctx, cfg, filepath.Join(dir, "keys"))
	if err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	server, err := embedded.Start(embedded.Options{StoreDir: dir, LazySync: true, Log: quiet})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, func() error { server.Stop(); return nil })
	nc, err := p.connect(server)
	if err != nil {
		return err
	}
	worker, err := queue.Start(ctx, nc, queue.Config{
		Pool: cmp.Or(cfg.Name, "default"), Provider: provider.ProviderID(),
		Signer: provider, Keys: []capsign.Key{p.Key}, Log: quiet,
	})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, func() error { return stop(ctx, worker) })
	p.Conn, err = p.connect(server)
	return err
}

// openKey makes the pool's key in dir.
func (p *Pool) openKey(ctx context.Context, cfg Config, dir string) (*software.Provider, error) {
	keys := software.Config{Dir: dir, KeyName: cmp.Or(cfg.KeyName, "cap-signing"), Alg: cfg.Alg}
	kid, err := software.Generate(ctx, keys)
	if err != nil {
		return nil, err
	}
	provider, err := software.Open(ctx, keys)
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, provider.Close)
	p.Key, err = provider.PublicKey(ctx, kid)
	return provider, err
}

// connect returns a connection that Close ends.
func (p *Pool) connect(server *embedded.Server) (*nats.Conn, error) {
	nc, err := server.Connect()
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, func() error { nc.Close(); return nil })
	return nc, nil
}

// stop stops a worker that should have nothing left to do.
func stop(ctx context.Context, worker *queue.Worker) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return worker.Stop(ctx)
}

// Close stops the worker, then the server, and removes what they left on disk.
func (p *Pool) Close() error {
	var errs []error
	for _, closer := range slices.Backward(p.closers) {
		errs = append(errs, closer())
	}
	p.closers = nil
	return errors.Join(errs...)
}
