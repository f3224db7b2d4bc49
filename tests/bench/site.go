package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/audit"
	"github.com/capsign/cap/internal/broker/embedded"
	"github.com/capsign/cap/internal/providers/software"
	"github.com/capsign/cap/internal/queue"
)

// site is something that signs, reached over loopback TCP.
type site struct {
	nc   *nats.Conn // the client's
	pid  int        // of the serving process; 0 means this one
	stop func() error
}

// newSite starts a site in p's directory.
type newSite func(ctx context.Context, p *pass, sync durability) (*site, error)

// embeddedSite is server and worker inside this process, the worker connected
// to the server as in cmd/worker.
func embeddedSite(ctx context.Context, p *pass, sync durability) (*site, error) {
	url, stopPool, err := startPool(ctx, p.dir, sync)
	if err != nil {
		return nil, err
	}
	return connect(url, 0, stopPool)
}

// connect returns a site with a client's connection to url. The site's stop
// closes it and calls stop, which is called at once if there is no connecting.
func connect(url string, pid int, stop func() error) (*site, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	return &site{nc: nc, pid: pid, stop: func() error {
		nc.Close()
		return stop()
	}}, nil
}

// startServer starts a server that keeps its files in dir.
func startServer(dir string, sync durability) (*embedded.Server, error) {
	return embedded.Start(embedded.Options{
		Listen: "127.0.0.1:0", StoreDir: dir, LazySync: sync == lazy, Log: slog.New(slog.DiscardHandler),
	})
}

// startPool starts a server and a worker with a software key and returns the
// server's URL. The worker's connection stays inside the process.
func startPool(ctx context.Context, dir string, sync durability) (url string, stop func() error, err error) {
	server, err := startServer(filepath.Join(dir, "nats"), sync)
	if err != nil {
		return "", nil, err
	}
	nc, err := server.Connect()
	if err != nil {
		server.Stop()
		return "", nil, err
	}
	stopWorker, err := startWorker(ctx, nc, dir, sync)
	if err != nil {
		nc.Close()
		server.Stop()
		return "", nil, err
	}
	return server.URL(), func() error {
		err := stopWorker()
		nc.Close()
		server.Stop()
		return err
	}, nil
}

// workers says what the workers of a site are like; the zero value is one like
// cmd/worker's, with one fresh key.
type workers struct {
	n       int           // how many; 0 means one
	keys    int           // key versions; 0 means one
	delay   time.Duration // what a signature takes longer than it does
	ackWait time.Duration // of the bulk lane
}

// slowParallelism is how many signatures a delayed provider makes at once.
const slowParallelism = 8

// startWorker starts a worker over nc with a fresh key and an audit log below
// dir, which syncs as the broker does.
func startWorker(ctx context.Context, nc *nats.Conn, dir string, sync durability) (stop func() error, err error) {
	keys := filepath.Join(dir, "keys")
	if err := makeKeys(ctx, keys, 1); err != nil {
		return nil, err
	}
	return serveKeys(ctx, nc, keys, filepath.Join(dir, "audit"), sync, workers{})
}

// keyConfig is where the pool's key versions are.
func keyConfig(dir string) software.Config {
	return software.Config{Dir: dir, KeyName: "cap-signing"}
}

// makeKeys makes n key versions in dir.
func makeKeys(ctx context.Context, dir string, n int) error {
	for range n {
		if _, err := software.Generate(ctx, keyConfig(dir)); err != nil {
			return err
		}
	}
	return nil
}

// serveKeys starts a worker over nc for all key versions in keys, with an audit
// log in record.
func serveKeys(ctx context.Context, nc *nats.Conn, keys, record string, sync durability, like workers) (stop func() error, err error) {
	provider, err := software.Open(ctx, keyConfig(keys))
	if err != nil {
		return nil, err
	}
	held, err := heldKeys(ctx, provider)
	if err != nil {
		return nil, errors.Join(err, provider.Close())
	}
	log, err := audit.Open(record, sync == lazy)
	if err != nil {
		return nil, errors.Join(err, provider.Close())
	}
	cfg := queue.Config{
		Pool: "default", Provider: provider.ProviderID(), Signer: provider, Keys: held, Audit: log,
		Prefetch: 64, // as cmd/worker has it for software keys
		Log:      slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),

		BulkAckWait: like.ackWait,
	}
	if like.delay > 0 {
		cfg.Signer, cfg.Parallelism, cfg.Prefetch = slow{provider, like.delay}, slowParallelism, 0
	}
	worker, err := queue.Start(ctx, nc, cfg)
	if err != nil {
		return nil, errors.Join(err, log.Close(), provider.Close())
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return errors.Join(worker.Stop(ctx), log.Close(), provider.Close())
	}, nil
}

// heldKeys returns all key versions of a provider.
func heldKeys(ctx context.Context, provider *software.Provider) ([]capsign.Key, error) {
	kids, err := provider.ListKIDs(ctx)
	if err != nil {
		return nil, err
	}
	held := make([]capsign.Key, len(kids))
	for i, kid := range kids {
		if held[i], err = provider.PublicKey(ctx, kid); err != nil {
			return nil, err
		}
	}
	return held, nil
}

// slow is a signer that takes its time, as a device or a service does.
type slow struct {
	queue.Signer
	delay time.Duration
}

// Sign waits and signs.
func (s slow) Sign(ctx context.Context, kid string, msg []byte) (capsign.Signature, error) {
	if err := pauseFor(ctx, s.delay); err != nil {
		return capsign.Signature{}, capsign.ProviderTimeout
	}
	return s.Signer.Sign(ctx, kid, msg)
}
