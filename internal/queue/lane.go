package queue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

// At most so many signed requests of a lane wait for the store. When the store
// takes nothing, this is where a lane comes to rest. The lanes share the stream of
// the results, which takes one after the other: a one-off's waits behind all that
// the bulk lane has sent there, and a bulk request's result is large.
const (
	expressStoring = 256
	bulkStoring    = 16
)

// lane serves the requests of one lane. It never holds more than it has room
// for, and tells the broker about everything it holds before the broker would
// deliver it again.
type lane struct {
	js      jetstream.JetStream
	jobs    string // the stream's name
	config  jetstream.ConsumerConfig
	name    capsign.Lane
	ackWait time.Duration
	log     *slog.Logger

	pull    puller
	held    held
	slots   slots         // being signed
	storing chan struct{} // signed and not yet stored

	mu     sync.Mutex
	sub    *nats.Subscription    // what arrives; nil while the lane is shut
	closed <-chan nats.SubStatus // speaks when the last sub has ended
	ended  bool

	quit     chan struct{}
	quitOnce sync.Once
	inHand   *hands
}

// newLane returns the lane of this name in cfg's pool, with its own slots.
func newLane(nc *nats.Conn, js jetstream.JetStream, cfg Config, name capsign.Lane, own slots) *lane {
	l := &lane{
		js: js, jobs: capsign.JobsStream(cfg.Pool), name: name, ackWait: cfg.BulkAckWait,
		log:     cfg.Log.With("lane", string(name)),
		slots:   own,
		storing: make(chan struct{}, bulkStoring),
		quit:    make(chan struct{}), inHand: newHands(),
	}
	if name == capsign.Express {
		l.ackWait, l.storing = cfg.ExpressAckWait, make(chan struct{}, expressStoring)
	}
	l.config = consumerConfig(cfg.Pool, name, l.ackWait)
	l.pull = puller{
		nc: nc, next: "$JS.API.CONSUMER.MSG.NEXT." + l.jobs + "." + l.config.Durable,
		room: cfg.Prefetch,
	}
	return l
}

// bind finds or creates the lane's durable consumer.
func (l *lane) bind(ctx context.Context) error {
	if _, err := l.js.CreateOrUpdateConsumer(ctx, l.jobs, l.config); err != nil {
		return streamCode(err)
	}
	return nil
}

// start prepares the lane to hand each request to handle, in a goroutine that has
// no other meanwhile and with the context work. It begins shut.
func (l *lane) start(ctx, work context.Context, handle func(context.Context, *lane, *nats.Msg)) error {
	l.pull.take = func(msg *nats.Msg) {
		l.held.add(msg)
		l.inHand.do(func() {
			defer l.held.remove(msg)
			handle(work, l, msg)
		})
	}
	return l.bind(ctx)
}

// open begins to pull requests.
func (l *lane) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sub != nil || l.ended {
		return
	}
	sub, err := l.pull.start()
	if err != nil {
		l.log.ErrorContext(context.Background(), "cannot subscribe: the connection is closed", "code", string(capsign.BrokerUnreachable))
		return
	}
	l.sub, l.closed = sub, sub.StatusChanged(nats.SubscriptionClosed)
}

// shut stops pulling: the broker forgets what was asked for, and what is on its
// way already is still taken.
func (l *lane) shut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pull.stop()
	if l.sub != nil && l.sub.Drain() != nil {
		l.closed = nil // the connection is closed, and nothing more will come
	}
	l.sub = nil
}

// end shuts the lane for good and waits until what is on its way is taken, or
// until ctx ends.
func (l *lane) end(ctx context.Context) {
	l.mu.Lock()
	l.ended = true
	sub := l.sub
	l.mu.Unlock()
	l.shut()
	if l.closed == nil {
		return
	}
	select {
	case <-l.closed:
	case <-ctx.Done():
		if sub != nil {
			_ = sub.Unsubscribe() // closed in between, if it fails
		}
	}
}

// run keeps the lane going until stop is called and returns when everything in
// hand is done; what is still in hand when work ends is abandoned.
func (l *lane) run(work context.Context) {
	ctx, done := context.WithCancel(work)
	var keeping sync.WaitGroup
	keeping.Go(func() { l.held.keep(ctx, l.ackWait/3) })
	keeping.Go(func() { l.watch(ctx) })
	<-l.quit
	l.end(work)
	l.inHand.dismiss()
	done()
	keeping.Wait()
}

// watch asks anew whenever the connection was lost in between, or the broker
// has fallen silent; a consumer that is gone is made again.
func (l *lane) watch(ctx context.Context) {
	connected := l.pull.nc.StatusChanged(nats.CONNECTED)
	defer l.pull.nc.RemoveStatusListener(connected)
	ticker := time.NewTicker(pullHeartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-connected:
			if !open {
				return // the connection is closed for good
			}
			l.pull.reset()
		case <-ticker.C:
			if l.pull.silent() {
				l.revive(ctx)
			}
		}
	}
}

// revive asks anew, after making the consumer again if it is gone. While the
// consumer has no leader nobody says whether it is there: the next tick asks
// again.
func (l *lane) revive(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pullHeartbeat)
	defer cancel()
	_, err := l.js.Consumer(ctx, l.jobs, l.config.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		l.log.WarnContext(ctx, "consumer lost, made again", "code", string(capsign.QueueUnavailable))
		err = l.bind(ctx)
	}
	if err == nil {
		l.pull.reset()
	}
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
	l.pull.release()
}

// stored ends what signed began.
func (l *lane) stored() { <-l.storing }
