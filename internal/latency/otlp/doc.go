// Package otlp brings spans and metrics to whoever wants them: as a receiver of
// the OpenTelemetry protocol over gRPC and HTTP, and from files of its JSON
// form, a line for each export, as the OpenTelemetry Collector writes them.
package otlp

import (
	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// Sink takes what arrives. Its methods are called from several goroutines at
// once.
type Sink interface {
	Spans([]*tracepb.ResourceSpans)
	Metrics([]*metricpb.ResourceMetrics)
}

// maxExport is the greatest export that is read, unpacked.
const maxExport = 16 << 20
