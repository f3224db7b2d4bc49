package queue

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
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
	attrBatchCount   = attribute.Key("messaging.batch.message_count")
	attrErrorType    = attribute.Key("error.type")
	attrPool         = attribute.Key("cap.pool")
	attrLane         = attribute.Key("cap.lane")
	attrProvider     = attribute.Key("cap.provider")
	attrClass        = attribute.Key("cap.class")
	attrAlg          = attribute.Key("cap.alg")
	attrSignCount    = attribute.Key("cap.sign.count")
	attrQueueWait    = attribute.Key("cap.queue.wait")
)

// startProcess starts the span of one request in the worker, "process cap.job",
// in the publisher's trace: as its child, so that one trace is one request, and
// with a link, as the conventions have it. waited is how long the request lay in
// the queue, by the broker's clock and the worker's.
func (w *Worker) startProcess(ctx context.Context, lane capsign.Lane, msg *nats.Msg, waited time.Duration) (context.Context, trace.Span) {
	opts := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer)}
	if len(msg.Header) > 0 {
		ctx = capsign.ExtractTrace(ctx, msg.Header)
		opts = append(opts, trace.WithLinks(trace.LinkFromContext(ctx)))
	}
	ctx, span := w.tracer.Start(ctx, "process cap.job", opts...)
	if span.IsRecording() {
		span.SetAttributes(attrSystem.String("nats"), attrOperation.String("process"),
			attrDestination.String("cap.job"), attrSubscription.String(string(lane)),
			attrPool.String(w.cfg.Pool), attrLane.String(string(lane)), attrProvider.String(w.cfg.Provider),
			attrQueueWait.Float64(waited.Seconds()))
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

// startSlotWait starts the span of waiting for one of a lane's slots: "wait
// cap.slot".
func startSlotWait(ctx context.Context) trace.Span {
	_, span := startStep(ctx, "wait cap.slot", trace.SpanKindInternal)
	return span
}

// startSign starts the span of one call to the provider, for n signatures, its
// own wait for a session included: "sign".
func startSign(ctx context.Context, key capsign.Key, n int) (context.Context, trace.Span) {
	return startStep(ctx, "sign", trace.SpanKindClient, attrProvider.String(key.Provider),
		attrClass.String(string(key.Class)), attrAlg.String(string(key.Alg)), attrSignCount.Int(n))
}

// startVerify starts the span of holding one signature against its public key:
// "verify".
func startVerify(ctx context.Context) trace.Span {
	_, span := startStep(ctx, "verify", trace.SpanKindInternal)
	return span
}

// startAudit starts the span of recording one decision: "audit".
func startAudit(ctx context.Context) (context.Context, trace.Span) {
	return startStep(ctx, "audit", trace.SpanKindInternal)
}

// startStore starts the span of storing one result, "store cap.store".
func startStore(ctx context.Context) (context.Context, trace.Span) {
	return startStep(ctx, "store cap.store", trace.SpanKindProducer,
		attrSystem.String("nats"), attrOperation.String("publish"), attrDestination.String("cap.store"))
}

// counted says how many items the request of ctx's span has.
func counted(ctx context.Context, items int) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attrBatchCount.Int(items))
	}
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
