package capsign

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// scope names this package's spans and instruments.
const scope = "github.com/capsign/cap/capsign"

// Attribute keys of the spans below, from the OpenTelemetry messaging
// conventions; "nats" is cap's own value for the messaging system.
const (
	attrSystem      = attribute.Key("messaging.system")
	attrOperation   = attribute.Key("messaging.operation.name")
	attrDestination = attribute.Key("messaging.destination.template")
	attrBatchCount  = attribute.Key("messaging.batch.message_count")
	attrErrorType   = attribute.Key("error.type")
	attrPool        = attribute.Key("cap.pool")
	attrLane        = attribute.Key("cap.lane")
)

// telemetry is what a client's requests are told with. Looking up a tracer and
// making a set of attributes cost more than using them, so each is made once.
type telemetry struct {
	pool     string
	tracer   trace.Tracer
	duration metric.Float64Histogram
	sent     metric.Int64Counter
	answered map[Lane]metric.MeasurementOption // for requests without an error
}

// newTelemetry makes what tells of requests to a pool.
func newTelemetry(pool string) telemetry {
	meter := otel.Meter(scope)
	t := telemetry{pool: pool, tracer: otel.Tracer(scope)}
	// The API documents that an instrument comes back usable beside an error.
	t.duration, _ = meter.Float64Histogram("messaging.client.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("From publishing a request to its result."))
	t.sent, _ = meter.Int64Counter("messaging.client.sent.messages", metric.WithUnit("{message}"),
		metric.WithDescription("Requests published, repetitions apart."))
	t.answered = map[Lane]metric.MeasurementOption{Express: t.attributes(Express, nil), Bulk: t.attributes(Bulk, nil)}
	return t
}

// startPublish starts the span of one request, from its publication to its
// result: "publish cap.job". Its context is what the queue carries.
func (t telemetry) startPublish(ctx context.Context, lane Lane, items int) (context.Context, trace.Span) {
	ctx, span := t.tracer.Start(ctx, "publish cap.job", trace.WithSpanKind(trace.SpanKindProducer))
	if span.IsRecording() {
		span.SetAttributes(attrSystem.String("nats"), attrOperation.String("publish"),
			attrDestination.String("cap.job"), attrBatchCount.Int(items),
			attrPool.String(t.pool), attrLane.String(string(lane)))
	}
	return ctx, span
}

// exchanged records the end of one request that began then.
func (t telemetry) exchanged(ctx context.Context, lane Lane, began time.Time, err error) {
	if !t.duration.Enabled(ctx) {
		return
	}
	option := t.answered[lane]
	if err != nil {
		option = t.attributes(lane, err)
	}
	t.duration.Record(ctx, time.Since(began).Seconds(), option)
	t.sent.Add(ctx, 1, option)
}

// attributes returns those of the instruments.
func (t telemetry) attributes(lane Lane, err error) metric.MeasurementOption {
	attrs := []attribute.KeyValue{
		attrSystem.String("nats"), attrOperation.String("publish"), attrDestination.String("cap.job"),
		attrPool.String(t.pool), attrLane.String(string(lane)),
	}
	if err != nil {
		attrs = append(attrs, attrErrorType.String(string(CodeOf(err))))
	}
	return metric.WithAttributeSet(attribute.NewSet(attrs...))
}

// endSpan ends a span with the code that err wraps, if any.
func endSpan(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		code := string(CodeOf(err))
		span.SetAttributes(attrErrorType.String(code))
		span.SetStatus(codes.Error, code)
	}
	span.End()
}
