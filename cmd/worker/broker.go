package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/broker"
	"github.com/capsign/cap/internal/broker/embedded"
	"github.com/capsign/cap/internal/config"
)

// connectTimeout bounds a worker's first connection to its broker.
const connectTimeout = 10 * time.Second

// brokerLink is the connection to the broker, and the broker itself where the
// worker brings it.
type brokerLink struct {
	nc     *nats.Conn
	url    string // where clients reach the broker; empty with a context
	server *embedded.Server
}

// openBroker connects to the configured broker or starts the embedded one.
func openBroker(ctx context.Context, cfg config.Config, log *slog.Logger) (*brokerLink, error) {
	if cfg.NATS.URL == "" && cfg.NATS.Context == "" {
		return startBroker(cfg, log)
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	nc, err := broker.Connect(ctx, broker.Target{
		URL: cfg.NATS.URL, Context: cfg.NATS.Context, Creds: cfg.NATS.Creds,
		Name: "cap-worker " + cfg.Pool, WaitForever: true,
	})
	if err != nil {
		return nil, err
	}
	link := &brokerLink{nc: nc, url: cfg.NATS.URL}
	if err := checkDurability(ctx, nc, cfg.NATS.AllowLazySync, log); err != nil {
		link.close()
		return nil, err
	}
	return link, nil
}

// startBroker runs the embedded server and connects to it in process.
func startBroker(cfg config.Config, log *slog.Logger) (*brokerLink, error) {
	listen := cfg.NATS.Listen
	if listen == "" {
		listen = config.DefaultListen
	}
	server, err := embedded.Start(embedded.Options{
		Listen: listen, StoreDir: cfg.Data, LazySync: cfg.NATS.AllowLazySync, Log: log,
	})
	if err != nil {
		return nil, err
	}
	link := &brokerLink{server: server, url: server.URL()}
	if link.nc, err = server.Connect(nats.Name("cap-worker " + cfg.Pool)); err != nil {
		server.Stop()
		return nil, err
	}
	return link, nil
}

// close ends the connection, then the server.
func (l *brokerLink) close() {
	l.nc.Close()
	if l.server != nil {
		l.server.Stop()
	}
}

// checkDurability refuses a broker that says it acknowledges messages before
// they are on disk, unless lazy is allowed. A broker that does not let us ask
// gets a warning.
func checkDurability(ctx context.Context, nc *nats.Conn, lazy bool, log *slog.Logger) error {
	always, known := broker.SyncAlways(ctx, nc)
	switch {
	case known && always:
		return nil
	case known && !lazy:
		return fmt.Errorf("broker: %w", capsign.QueueNotDurable)
	case known:
		log.WarnContext(ctx, "the broker acknowledges before it syncs: a power cut loses messages", "code", string(capsign.QueueNotDurable))
	default:
		log.WarnContext(ctx, "cannot ask the broker whether it syncs before it acknowledges: set sync_interval: always there")
	}
	return nil
}
