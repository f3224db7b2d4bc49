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

// startWorker starts a worker over nc with a fresh key and an audit log below
// dir, which syncs as the broker does.
func startWorker(ctx context.Context, nc *nats.Conn, dir string, sync durability) (stop func() error, err error) {
	cfg := software.Config{Dir: filepath.Join(dir, "keys"), KeyName: "cap-signing"}
	kid, err := software.Generate(ctx, cfg)
	if err != nil {
		return nil, err
	}
	provider, err := software.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	key, err := provider.PublicKey(ctx, kid)
	if err != nil {
		return nil, errors.Join(err, provider.Close())
	}
	record, err := audit.Open(filepath.Join(dir, "audit"), sync == lazy)
	if err != nil {
		return nil, errors.Join(err, provider.Close())
	}
	worker, err := queue.Start(ctx, nc, queue.Config{
		Pool: "default", Provider: provider.ProviderID(), Signer: provider, Keys: []capsign.Key{key}, Audit: record,
		Prefetch: 64, // as cmd/worker has it for software keys
		Log:      slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return nil, errors.Join(err, record.Close(), provider.Close())
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return errors.Join(worker.Stop(ctx), record.Close(), provider.Close())
	}, nil
}
