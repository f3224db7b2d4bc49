package queue

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/capsign/cap/capsign"
)

// gaugeTimeout bounds what one collection of metrics may ask the broker.
const gaugeTimeout = 2 * time.Second

// gauges are what can be looked at, rather than what happens: each is observed
// when metrics are collected, and only then is the broker asked.
type gauges struct {
	waiting, inHand metric.Int64ObservableGauge
	age             metric.Float64ObservableGauge
	ready           metric.Int64ObservableGauge
	busy, limit     metric.Int64ObservableGauge
}

// newGauges makes the instruments.
func newGauges(meter metric.Meter) gauges {
	var g gauges
	// The API documents that an instrument comes back usable beside an error.
	g.waiting, _ = meter.Int64ObservableGauge("cap.queue.waiting", metric.WithUnit("{request}"),
		metric.WithDescription("Requests of the lane that no worker has taken."))
	g.inHand, _ = meter.Int64ObservableGauge("cap.queue.in_hand", metric.WithUnit("{request}"),
		metric.WithDescription("Requests of the lane that workers have taken and not answered."))
	g.age, _ = meter.Float64ObservableGauge("cap.queue.age", metric.WithUnit("s"),
		metric.WithDescription("Age of the lane's oldest request, 0 where there is none."))
	g.ready, _ = meter.Int64ObservableGauge("cap.worker.ready", metric.WithUnit("1"),
		metric.WithDescription("1 while the worker takes requests, else 0, with the code that says why."))
	g.busy, _ = meter.Int64ObservableGauge("cap.slots.busy", metric.WithUnit("{slot}"),
		metric.WithDescription("Signing slots of the lane that are taken, in this worker."))
	g.limit, _ = meter.Int64ObservableGauge("cap.slots.limit", metric.WithUnit("{slot}"),
		metric.WithDescription("Signing slots of the lane, in this worker."))
	return g
}

// observe has the gauges observed from now on, until Stop.
func (w *Worker) observe(context.Context) error {
	meter := otel.Meter(scope)
	g := newGauges(meter)
	registration, err := meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		w.observeWorker(o, g)
		w.observeQueue(ctx, o, g)
		return nil
	}, g.waiting, g.inHand, g.age, g.ready, g.busy, g.limit)
	if err != nil {
		return capsign.Internal // instruments of another meter, which they are not
	}
	w.gauging = registration
	return nil
}

// observeWorker observes what the worker knows by itself.
func (w *Worker) observeWorker(o metric.Observer, g gauges) {
	attrs := []attribute.KeyValue{attrPool.String(w.cfg.Pool), attrProvider.String(w.cfg.Provider)}
	ready := int64(1)
	if code := w.gate.code(); code != "" {
		ready, attrs = 0, append(attrs, attrErrorType.String(string(code)))
	}
	o.ObserveInt64(g.ready, ready, metric.WithAttributes(attrs...))
	for _, l := range w.lanes {
		o.ObserveInt64(g.busy, int64(l.slots.busy()), l.attributes(w.cfg.Pool))
		o.ObserveInt64(g.limit, int64(l.slots.limit()), l.attributes(w.cfg.Pool))
	}
}

// observeQueue observes what the broker tells of the lanes. What it does not
// tell now is not observed.
func (w *Worker) observeQueue(ctx context.Context, o metric.Observer, g gauges) {
	ctx, cancel := context.WithTimeout(ctx, gaugeTimeout)
	defer cancel()
	stream, err := w.js.Stream(ctx, capsign.JobsStream(w.cfg.Pool))
	if err != nil {
		return
	}
	for _, l := range w.lanes {
		consumer, err := stream.Consumer(ctx, l.config.Durable)
		if err != nil {
			continue
		}
		info := consumer.CachedInfo()
		o.ObserveInt64(g.waiting, int64(info.NumPending), l.attributes(w.cfg.Pool)) //nolint:gosec // no queue is that long
		o.ObserveInt64(g.inHand, int64(info.NumAckPending), l.attributes(w.cfg.Pool))
		if age, ok := l.age(ctx, stream, info); ok {
			o.ObserveFloat64(g.age, age.Seconds(), l.attributes(w.cfg.Pool))
		}
	}
}

// age returns how old the lane's oldest request is, 0 where there is none, and
// whether the broker has said so.
func (l *lane) age(ctx context.Context, stream jetstream.Stream, info *jetstream.ConsumerInfo) (time.Duration, bool) {
	if info.NumPending == 0 && info.NumAckPending == 0 {
		return 0, true
	}
	oldest, err := stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(l.config.FilterSubject))
	if err != nil {
		return 0, false
	}
	return max(time.Since(oldest.Time), 0), true
}

// attributes returns what the lane's gauges are told apart by.
func (l *lane) attributes(pool string) metric.ObserveOption {
	return metric.WithAttributes(attrPool.String(pool), attrLane.String(string(l.name)))
}
