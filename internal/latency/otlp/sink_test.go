package otlp

import (
	"encoding/hex"
	"sync"
	"testing"

	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// kept is a sink that keeps what it is given.
type kept struct {
	mu      sync.Mutex
	spans   []*tracepb.Span
	metrics []*metricpb.Metric
}

// Spans keeps spans.
func (k *kept) Spans(export []*tracepb.ResourceSpans) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, from := range export {
		for _, scope := range from.GetScopeSpans() {
			k.spans = append(k.spans, scope.GetSpans()...)
		}
	}
}

// Metrics keeps metrics.
func (k *kept) Metrics(export []*metricpb.ResourceMetrics) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, from := range export {
		for _, scope := range from.GetScopeMetrics() {
			k.metrics = append(k.metrics, scope.GetMetrics()...)
		}
	}
}

// mustHold says that the sink has one span, with these ids and this name.
func (k *kept) mustHold(t *testing.T, name, trace, span, parent string) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.spans) != 1 {
		t.Fatalf("%d spans", len(k.spans))
	}
	s := k.spans[0]
	if s.Name != name || hex.EncodeToString(s.TraceId) != trace || hex.EncodeToString(s.SpanId) != span || hex.EncodeToString(s.ParentSpanId) != parent {
		t.Errorf("%v", s)
	}
}
