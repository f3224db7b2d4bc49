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

// startPublish starts the span of one request, from its publication to its
// result: "publish cap.job". Its context is what the queue carries.
func startPublish(ctx context.Context, pool string, lane Lane, items int) (context.Context, trace.Span) {
	ctx, span := otel.Tracer(scope).Start(ctx, "publish cap.job", trace.WithSpanKind(trace.SpanKindProducer))
	if span.IsRecording() {
		span.SetAttributes(attrSystem.String("nats"), attrOperation.String("publish"),
			attrDestination.String("cap.job"), attrBatchCount.Int(items),
			attrPool.String(pool), attrLane.String(string(lane)))
	}
	return ctx, span
}

// metrics are a client's instruments.
type metrics struct {
	duration metric.Float64Histogram
	sent     metric.Int64Counter
}

// newMetrics makes the instruments of a client.
func newMetrics() metrics {
	meter := otel.Meter(scope)
	var m metrics
	// The API documents that an instrument comes back usable beside an error.
	m.duration, _ = meter.Float64Histogram("messaging.client.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("From publishing a request to its result."))
	m.sent, _ = meter.Int64Counter("messaging.client.sent.messages", metric.WithUnit("{message}"),
		metric.WithDescription("Requests published, repetitions apart."))
	return m
}

// exchanged records the end of one request that began then.
func (m metrics) exchanged(ctx context.Context, pool string, lane Lane, began time.Time, err error) {
	if !m.duration.Enabled(ctx) {
		return
	}
	attrs := []attribute.KeyValue{
		attrSystem.String("nats"), attrOperation.String("publish"), attrDestination.String("cap.job"),
		attrPool.String(pool), attrLane.String(string(lane)),
	}
	if err != nil {
		attrs = append(attrs, attrErrorType.String(string(CodeOf(err))))
	}
	option := metric.WithAttributeSet(attribute.NewSet(attrs...))
	m.duration.Record(ctx, time.Since(began).Seconds(), option)
	m.sent.Add(ctx, 1, option)
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
