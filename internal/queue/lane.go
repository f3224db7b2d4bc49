package queue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

// A pull waits at the broker for pullExpiry; the broker speaks up every
// pullHeartbeat meanwhile, and two missed words cast doubt on the consumer.
const (
	pullExpiry    = 10 * time.Second
	pullHeartbeat = time.Second
)

// maxStoring bounds how many signed requests wait for the store. When the
// store takes nothing, this is where a lane comes to rest.
const maxStoring = 256

// lane pulls the requests of one lane. It never holds more than it has room
// for, and tells the broker about everything it holds before the broker would
// deliver it again.
type lane struct {
	js      jetstream.JetStream
	config  jetstream.ConsumerConfig
	jobs    string // the stream's name
	name    capsign.Lane
	ackWait time.Duration
	log     *slog.Logger

	prefetch int
	room     chan struct{} // pulled and not yet signed
	slots    chan struct{} // being signed
	storing  chan struct{} // signed and not yet stored

	consumer jetstream.Consumer
	doubt    chan struct{} // holds one: the consumer may be gone
	quit     chan struct{}
	quitOnce sync.Once
	inHand   sync.WaitGroup
	held     held
}

// newLane returns the lane of this name in cfg's pool.
func newLane(js jetstream.JetStream, cfg Config, name capsign.Lane) *lane {
	l := &lane{
		js: js, jobs: capsign.JobsStream(cfg.Pool), name: name, ackWait: cfg.BulkAckWait,
		log: cfg.Log.With("lane", string(name)), prefetch: cfg.Prefetch,
		room:    make(chan struct{}, cfg.Prefetch),
		slots:   make(chan struct{}, cfg.Parallelism),
		storing: make(chan struct{}, maxStoring),
		doubt:   make(chan struct{}, 1),
		quit:    make(chan struct{}),
	}
	if name == capsign.Express {
		l.ackWait = cfg.ExpressAckWait
		l.slots = make(chan struct{}, max(2, cfg.Parallelism))
	}
	l.config = consumerConfig(cfg.Pool, name, l.ackWait)
	return l
}

// bind finds or creates the lane's durable consumer.
func (l *lane) bind(ctx context.Context) error {
	consumer, err := l.js.CreateOrUpdateConsumer(ctx, l.jobs, l.config)
	if err != nil {
		return streamCode(err)
	}
	l.consumer = consumer
	return nil
}

// run hands each request to handle, in a goroutine of its own, until stop is
// called, and returns when all of them are done. A consumer that is lost is
// made anew.
func (l *lane) run(ctx context.Context, handle func(context.Context, *lane, jetstream.Msg)) {
	var keeping sync.WaitGroup
	keepCtx, keepDone := context.WithCancel(ctx)
	keeping.Go(func() { l.held.keep(keepCtx, l.ackWait/3) })
	defer keeping.Wait()
	defer keepDone()
	defer l.inHand.Wait()

	for l.pull(ctx, handle) {
		for l.bind(ctx) != nil && l.pause(ctx, time.Second) {
		}
	}
}

// pull serves one subscription to the consumer. It reports whether there
// should be another: false after stop, true when the consumer was lost.
func (l *lane) pull(ctx context.Context, handle func(context.Context, *lane, jetstream.Msg)) bool {
	consume, err := l.consumer.Consume(func(msg jetstream.Msg) {
		l.room <- struct{}{} // blocks the subscription, and so the pulling
		l.held.add(msg)
		l.inHand.Go(func() {
			defer l.held.remove(msg)
			handle(ctx, l, msg)
		})
	}, jetstream.PullMaxMessages(l.prefetch), jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			l.log.DebugContext(ctx, "pull interrupted", "error", err)
			l.suspect()
		}))
	if err != nil {
		return l.pause(ctx, time.Second)
	}
	defer consume.Stop()
	for {
		select {
		case <-l.quit:
			consume.Drain() // hands over what was pulled already
			<-consume.Closed()
			return false
		case <-consume.Closed():
			return l.pause(ctx, time.Second)
		case <-l.doubt:
			if _, err := l.consumer.Info(ctx); errors.Is(err, jetstream.ErrConsumerNotFound) {
				l.log.WarnContext(ctx, "consumer lost", "code", string(capsign.QueueUnavailable))
				return true
			}
		}
	}
}

// suspect has pull look whether the consumer is still there.
func (l *lane) suspect() {
	select {
	case l.doubt <- struct{}{}:
	default:
	}
}

// pause waits; it reports false when the lane should stop instead.
func (l *lane) pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-l.quit:
	case <-ctx.Done():
	}
	return false
}

// stop makes run finish what is in hand and return.
func (l *lane) stop() { l.quitOnce.Do(func() { close(l.quit) }) }

// signed moves a request from those that wait to be signed to those that wait
// for the store.
func (l *lane) signed(ctx context.Context) {
	select {
	case l.storing <- struct{}{}:
	case <-ctx.Done():
		l.storing <- struct{}{} // everything is being abandoned; those ahead go at once
	}
	<-l.room
}

// stored ends what signed began.
func (l *lane) stored() { <-l.storing }

// held is the set of messages that a lane holds.
type held struct {
	mu       sync.Mutex
	messages map[jetstream.Msg]time.Time // when each was taken or last renewed
}

// add begins to hold msg.
func (h *held) add(msg jetstream.Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.messages == nil {
		h.messages = make(map[jetstream.Msg]time.Time)
	}
	h.messages[msg] = time.Now()
}

// remove ends holding msg.
func (h *held) remove(msg jetstream.Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.messages, msg)
}

// keep tells the broker, every interval until ctx ends, that the messages held
// longer than that are still worked on.
func (h *held) keep(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			h.renew(now.Add(-interval / 2))
		}
	}
}

// renew tells the broker about the messages taken or renewed before then.
func (h *held) renew(before time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for msg, since := range h.messages {
		if since.Before(before) {
			_ = msg.InProgress() // a lost connection means redelivery, which is safe
			h.messages[msg] = time.Now()
		}
	}
}
