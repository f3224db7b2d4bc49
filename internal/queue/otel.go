package queue

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/capsign/cap/capsign"
)

// scope names this package's spans and instruments.
const scope = "github.com/capsign/cap/internal/queue"

// Attribute keys, from the OpenTelemetry messaging conventions and, under cap.,
// our own.
const (
	attrSystem       = attribute.Key("messaging.system")
	attrOperation    = attribute.Key("messaging.operation.name")
	attrDestination  = attribute.Key("messaging.destination.template")
	attrSubscription = attribute.Key("messaging.destination.subscription.name")
	attrErrorType    = attribute.Key("error.type")
	attrPool         = attribute.Key("cap.pool")
	attrLane         = attribute.Key("cap.lane")
	attrProvider     = attribute.Key("cap.provider")
	attrAlg          = attribute.Key("cap.alg")
)

// startProcess starts the span of one request in the worker, "process cap.job",
// in the publisher's trace: as its child, so that one trace is one request, and
// with a link, as the conventions have it.
func startProcess(ctx context.Context, pool string, lane capsign.Lane, msg *nats.Msg) (context.Context, trace.Span) {
	opts := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer)}
	if len(msg.Header) > 0 {
		ctx = capsign.ExtractTrace(ctx, msg.Header)
		opts = append(opts, trace.WithLinks(trace.LinkFromContext(ctx)))
	}
	ctx, span := otel.Tracer(scope).Start(ctx, "process cap.job", opts...)
	if span.IsRecording() {
		span.SetAttributes(attrSystem.String("nats"), attrOperation.String("process"),
			attrDestination.String("cap.job"), attrSubscription.String(string(lane)),
			attrPool.String(pool), attrLane.String(string(lane)))
	}
	return ctx, span
}

// endProcess ends the span of a request that was refused with code, or
// answered where code is empty.
func endProcess(span trace.Span, code capsign.Code) {
	if code != "" {
		fail(span, code)
	}
	span.End()
}

// startSign starts the span of one call to the provider: "sign".
func startSign(ctx context.Context, provider string) (context.Context, trace.Span) {
	return startStep(ctx, "sign", trace.SpanKindClient, attrProvider.String(provider))
}

// startStore starts the span of storing one result, "store cap.store".
func startStore(ctx context.Context) (context.Context, trace.Span) {
	return startStep(ctx, "store cap.store", trace.SpanKindProducer,
		attrSystem.String("nats"), attrOperation.String("publish"), attrDestination.String("cap.store"))
}

// startStep starts a span inside the request's, or none where that is not
// recorded: starting one that nobody sees costs a twentieth of a signature.
func startStep(ctx context.Context, name string, kind trace.SpanKind, attrs ...attribute.KeyValue) (context.Context, trace.Span) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, noSpan
	}
	return otel.Tracer(scope).Start(ctx, name, trace.WithSpanKind(kind), trace.WithAttributes(attrs...))
}

// noSpan records nothing.
var noSpan = trace.SpanFromContext(context.Background())

// endSpan ends a span of an operation that ended with err.
func endSpan(span trace.Span, err error) {
	if err != nil {
		fail(span, capsign.CodeOf(err))
	}
	span.End()
}

// fail marks a span with a code, the only text an error leaves there.
func fail(span trace.Span, code capsign.Code) {
	if span.IsRecording() {
		span.SetAttributes(attrErrorType.String(string(code)))
		span.SetStatus(codes.Error, string(code))
	}
}

// metrics are a worker's instruments. The options of each combination of
// attributes are made once: making them costs more than recording.
type metrics struct {
	pool, provider string
	process        metric.Float64Histogram
	consumed       metric.Int64Counter
	sign           metric.Float64Histogram
	alarms         metric.Int64Counter
	options        sync.Map // metricKey → metric.MeasurementOption
}

// metricKey is one combination of attributes.
type metricKey struct {
	lane capsign.Lane
	alg  capsign.Alg
	code capsign.Code
}

// newMetrics makes the instruments of a worker of cfg's pool.
func newMetrics(cfg Config) *metrics {
	meter := otel.Meter(scope)
	m := &metrics{pool: cfg.Pool, provider: cfg.Provider}
	// The API documents that an instrument comes back usable beside an error.
	m.process, _ = meter.Float64Histogram("messaging.process.duration", metric.WithUnit("s"),
		metric.WithDescription("From taking a request to its stored result."))
	m.consumed, _ = meter.Int64Counter("messaging.client.consumed.messages", metric.WithUnit("{message}"),
		metric.WithDescription("Requests taken from the queue, redeliveries included."))
	m.sign, _ = meter.Float64Histogram("cap.provider.sign.duration", metric.WithUnit("s"),
		metric.WithDescription("One call to the key provider."))
	m.alarms, _ = meter.Int64Counter("cap.integrity.alarms", metric.WithUnit("{signature}"),
		metric.WithDescription("Signatures that a provider returned and its public key refuses. Any is one too many."))
	return m
}

// alarm records a wrong signature.
func (m *metrics) alarm(ctx context.Context, key capsign.Key) {
	m.alarms.Add(ctx, 1, m.attributes(metricKey{alg: key.Alg}))
}

// processed records the end of one request.
func (m *metrics) processed(ctx context.Context, lane capsign.Lane, code capsign.Code, d time.Duration) {
	if m.process.Enabled(ctx) {
		option := m.attributes(metricKey{lane: lane, code: code})
		m.process.Record(ctx, d.Seconds(), option)
		m.consumed.Add(ctx, 1, option)
	}
}

// signed records one call to the provider.
func (m *metrics) signed(ctx context.Context, key capsign.Key, err error, d time.Duration) {
	if !m.sign.Enabled(ctx) {
		return
	}
	k := metricKey{alg: key.Alg}
	if err != nil {
		k.code = capsign.CodeOf(err)
	}
	m.sign.Record(ctx, d.Seconds(), m.attributes(k))
}

// attributes returns the option for k, made at its first use.
func (m *metrics) attributes(k metricKey) metric.MeasurementOption {
	if option, ok := m.options.Load(k); ok {
		return option.(metric.MeasurementOption)
	}
	attrs := []attribute.KeyValue{attrPool.String(m.pool), attrProvider.String(m.provider)}
	if k.lane != "" {
		attrs = append(attrs, attrSystem.String("nats"), attrOperation.String("process"), attrLane.String(string(k.lane)))
	}
	if k.alg != "" {
		attrs = append(attrs, attrAlg.String(string(k.alg)))
	}
	if k.code != "" {
		attrs = append(attrs, attrErrorType.String(string(k.code)))
	}
	option := metric.WithAttributeSet(attribute.NewSet(attrs...))
	m.options.Store(k, option)
	return option
}
