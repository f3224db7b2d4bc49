package capsign

import (
	"context"
	"net/textproto"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Bounds of the W3C Trace Context headers that are read: a traceparent has one
// length, and nobody has to pass on more than this of a tracestate.
const (
	traceparentSize   = 55
	maxTracestateSize = 512
)

// traceContext reads and writes traceparent and tracestate, never baggage:
// what else a publisher sends along is nobody's business here.
var traceContext propagation.TraceContext

// InjectTrace writes ctx's trace, if any, to header, which must not be nil.
func InjectTrace(ctx context.Context, header nats.Header) {
	traceContext.Inject(ctx, headerCarrier(header))
}

// SampledHeader returns the headers that carry ctx's trace, or nil unless its
// span is sampled: any header costs half a publication again.
func SampledHeader(ctx context.Context) nats.Header {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return nil
	}
	header := nats.Header{}
	InjectTrace(ctx, header)
	return header
}

// ExtractTrace returns ctx with the trace that header carries as its remote
// span, or ctx itself where there is none or it is malformed.
func ExtractTrace(ctx context.Context, header nats.Header) context.Context {
	carrier := headerCarrier(header)
	if len(carrier.Get("traceparent")) != traceparentSize {
		return ctx
	}
	return traceContext.Extract(ctx, carrier)
}

// headerCarrier lets a propagator read and write NATS headers. Their names are
// case-sensitive, unlike HTTP's: most programs write "traceparent", but those
// that go through an HTTP library write "Traceparent", and both must be found.
type headerCarrier nats.Header

var _ propagation.TextMapCarrier = headerCarrier(nil)

// Get returns the one value of key, whichever way its name is written:
// lower-case wins over HTTP's canonical form, that over any other. A header
// that is given more than once, or is too long, has no value.
func (c headerCarrier) Get(key string) string {
	values := c.find(strings.ToLower(key))
	if len(values) != 1 || len(values[0]) > maxTracestateSize {
		return ""
	}
	return values[0]
}

// find returns the values of a key given in lower case.
func (c headerCarrier) find(key string) []string {
	if values, ok := c[key]; ok {
		return values
	}
	if values, ok := c[textproto.CanonicalMIMEHeaderKey(key)]; ok {
		return values
	}
	for _, name := range slices.Sorted(slices.Values(c.Keys())) {
		if strings.EqualFold(name, key) {
			return c[name]
		}
	}
	return nil
}

// Set gives key, in lower case, one value, and no other writing of it any.
func (c headerCarrier) Set(key, value string) {
	for name := range c {
		if strings.EqualFold(name, key) {
			delete(c, name)
		}
	}
	c[strings.ToLower(key)] = []string{value}
}

// Keys returns the names as they are written.
func (c headerCarrier) Keys() []string {
	names := make([]string, 0, len(c))
	for name := range c {
		names = append(names, name)
	}
	return names
}
