package queue_test

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/broker/embedded"
	"github.com/capsign/cap/internal/queue"
)

// memorySigner signs with an Ed25519 key in memory. Before each signature it
// calls before, where a test puts faults and delays.
type memorySigner struct {
	key    capsign.Key
	seed   ed25519.PrivateKey
	signed atomic.Int64
	before func(ctx context.Context, n int64, msg []byte) error
}

// newMemorySigner returns a signer with a key of its own, named name.
func newMemorySigner(t testing.TB, name string) *memorySigner {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := capsign.MarshalPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	key, err := capsign.NewKey(capsign.Ed25519, spki, capsign.ProviderSoftware, name)
	if err != nil {
		t.Fatal(err)
	}
	key.Class, key.Version = capsign.ClassSoftware, "1"
	return &memorySigner{key: key, seed: private}
}

// CurrentKID returns the one kid.
func (s *memorySigner) CurrentKID(context.Context) (string, error) { return s.key.KID, nil }

// Sign signs msg unless before objects.
func (s *memorySigner) Sign(ctx context.Context, _ string, msg []byte) (capsign.Signature, error) {
	n := s.signed.Add(1)
	if s.before != nil {
		if err := s.before(ctx, n, msg); err != nil {
			return capsign.Signature{}, err
		}
	}
	return capsign.Signature{KID: s.key.KID, Alg: s.key.Alg, Bytes: ed25519.Sign(s.seed, msg)}, nil
}

// pool is a server, a worker and a connection to them.
type pool struct {
	server *embedded.Server
	nc     *nats.Conn
	js     jetstream.JetStream
	signer *memorySigner
	config queue.Config
}

// newServer starts a server that ends with the test and is reached in process.
func newServer(t testing.TB) *pool {
	t.Helper()
	server, err := embedded.Start(embedded.Options{StoreDir: t.TempDir(), LazySync: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	p := &pool{server: server, signer: newMemorySigner(t, "cap-signing")}
	p.nc = p.connect(t)
	if p.js, err = jetstream.New(p.nc); err != nil {
		t.Fatal(err)
	}
	p.config = queue.Config{
		Pool: "default", Provider: capsign.ProviderSoftware, Signer: p.signer,
		Keys: []capsign.Key{p.signer.key}, Log: slog.New(slog.DiscardHandler),
	}
	return p
}

// newPool starts a server and a worker that end with the test.
func newPool(t testing.TB) *pool {
	t.Helper()
	p := newServer(t)
	p.startWorker(t)
	return p
}

// connect returns a connection that ends with the test.
func (p *pool) connect(t testing.TB) *nats.Conn {
	t.Helper()
	nc, err := p.server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// startWorker starts a worker on a connection of its own.
func (p *pool) startWorker(t testing.TB) *queue.Worker {
	t.Helper()
	worker, err := queue.Start(context.Background(), p.connect(t), p.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := worker.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return worker
}

// client returns a client of the pool's.
func (p *pool) client(t testing.TB, cfg capsign.ClientConfig) *capsign.Client {
	t.Helper()
	client, err := capsign.NewClient(t.Context(), p.connect(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}
