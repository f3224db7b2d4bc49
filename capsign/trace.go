package capsign

import (
	"context"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// SampledHeader returns the headers that carry ctx's trace, or nil unless its
// span is sampled: any header costs half a publication again.
func SampledHeader(ctx context.Context) nats.Header {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return nil
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	header := nats.Header{}
	for k, v := range carrier {
		header[k] = []string{v}
	}
	return header
}

// ExtractTrace returns ctx with the trace that headers carry, if any.
func ExtractTrace(ctx context.Context, header nats.Header) context.Context {
	carrier := propagation.MapCarrier{}
	for k, v := range header {
		if len(v) > 0 {
			carrier[k] = v[0]
		}
	}
	return propagation.TraceContext{}.Extract(ctx, carrier)
}
