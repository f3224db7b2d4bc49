package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Names of the naive worker's.
const (
	naiveSubject = "bench.naive.sign"
	naiveReply   = "Reply-To"
)

// naiveSite is the JetStream worker that the tutorials lead to: a durable
// request, signed in the consumer's callback, answered on the requester's
// inbox, acknowledged. The answer is not durable, and a request that is
// delivered twice is signed twice.
func naiveSite(ctx context.Context, p *pass, sync durability) (*site, error) {
	server, err := startServer(p.dir, sync)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(server.URL())
	if err != nil {
		server.Stop()
		return nil, err
	}
	consume, err := consumeNaively(ctx, nc)
	stop := func() error {
		if consume != nil {
			consume.Stop()
		}
		nc.Close()
		server.Stop()
		return nil
	}
	if err != nil {
		_ = stop()
		return nil, err
	}
	return connect(server.URL(), 0, stop)
}

// consumeNaively makes the stream and starts the worker.
func consumeNaively(ctx context.Context, nc *nats.Conn) (jetstream.ConsumeContext, error) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name: "NAIVE", Subjects: []string{naiveSubject}, Retention: jetstream.WorkQueuePolicy,
	})
	if err != nil {
		return nil, err
	}
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "worker"})
	if err != nil {
		return nil, err
	}
	return consumer.Consume(func(msg jetstream.Msg) {
		_ = nc.Publish(msg.Headers().Get(naiveReply), ed25519.Sign(private, msg.Data()))
		_ = msg.Ack()
	})
}

// callNaive asks the naive worker from so many goroutines, each with an inbox
// of its own, each waiting for the publish acknowledgement first.
func callNaive(callers int) load {
	return func(ctx context.Context, nc *nats.Conn, messages [][]byte, done *atomic.Int64) error {
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		free := make(chan *nats.Subscription, callers)
		for range callers {
			sub, err := nc.SubscribeSync(nc.NewInbox())
			if err != nil {
				return err
			}
			free <- sub
		}
		return callAll(ctx, callers, messages, done, func(msg []byte) error {
			sub := <-free
			defer func() { free <- sub }()
			return askNaively(ctx, js, sub, msg)
		})
	}
}

// askNaively publishes one request and waits for its answer on sub.
func askNaively(ctx context.Context, js jetstream.JetStream, sub *nats.Subscription, msg []byte) error {
	_, err := js.PublishMsg(context.WithoutCancel(ctx), &nats.Msg{
		Subject: naiveSubject, Header: nats.Header{naiveReply: {sub.Subject}}, Data: msg,
	})
	if err != nil {
		return err
	}
	answer, err := sub.NextMsg(10 * time.Second)
	if err == nil && len(answer.Data) != ed25519.SignatureSize {
		return errors.New("naive worker: not a signature")
	}
	return err
}
