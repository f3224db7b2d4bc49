package main

import (
	"context"
	"crypto/ed25519"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// microSubject is where the micro service signs.
const microSubject = "bench.micro.sign"

// microSite is what one writes first: a NATS micro service that signs in its
// handler. Nothing is stored, and a lost message is lost.
func microSite(_ context.Context, p *pass, sync durability) (*site, error) {
	server, err := startServer(p.dir, sync)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(server.URL())
	if err != nil {
		server.Stop()
		return nil, err
	}
	stop := func() error {
		nc.Close()
		server.Stop()
		return nil
	}
	if err := addMicro(nc); err != nil {
		_ = stop()
		return nil, err
	}
	return connect(server.URL(), 0, stop)
}

// addMicro adds the service to nc.
func addMicro(nc *nats.Conn) error {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	service, err := micro.AddService(nc, micro.Config{Name: "signer", Version: "1.0.0"})
	if err != nil {
		return err
	}
	sign := func(r micro.Request) { _ = r.Respond(ed25519.Sign(private, r.Data())) } // unsent, the caller times out
	return service.AddEndpoint("sign", micro.HandlerFunc(sign), micro.WithEndpointSubject(microSubject))
}

// callMicro asks the service from so many goroutines.
func callMicro(callers int) load {
	return func(ctx context.Context, nc *nats.Conn, messages [][]byte, done *atomic.Int64) error {
		return callAll(ctx, callers, messages, done, func(msg []byte) error {
			_, err := nc.Request(microSubject, msg, 10*time.Second)
			return err
		})
	}
}
