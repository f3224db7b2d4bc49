package telemetry

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	nooptrace "go.opentelemetry.io/otel/trace/noop"
	metricsv1 "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// TestMain makes the tests forget what the environment says of telemetry.
func TestMain(m *testing.M) {
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "OTEL_") {
			if err := os.Unsetenv(name); err != nil {
				panic(err)
			}
		}
	}
	os.Exit(m.Run())
}

// setEnv sets variables for one test, and takes the global providers that it
// starts away after it.
func setEnv(t *testing.T, env map[string]string) {
	t.Helper()
	for name, value := range env {
		t.Setenv(name, value)
	}
	t.Cleanup(func() {
		otel.SetTracerProvider(nooptrace.NewTracerProvider())
		otel.SetMeterProvider(noopmetric.NewMeterProvider())
		otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator())
	})
}

// collector is an OTLP/HTTP endpoint that keeps what it gets.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	spans   []*tracepb.ResourceSpans
	metrics []*metricpb.ResourceMetrics
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, r *http.Request) {
		var request tracev1.ExportTraceServiceRequest
		c.receive(t, w, r, &request, func() { c.spans = append(c.spans, request.ResourceSpans...) })
	})
	mux.HandleFunc("POST /v1/metrics", func(w http.ResponseWriter, r *http.Request) {
		var request metricsv1.ExportMetricsServiceRequest
		c.receive(t, w, r, &request, func() { c.metrics = append(c.metrics, request.ResourceMetrics...) })
	})
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

// receive reads one export and keeps it.
func (c *collector) receive(t *testing.T, w http.ResponseWriter, r *http.Request, into proto.Message, keep func()) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = proto.Unmarshal(body, into)
	}
	if err != nil {
		t.Errorf("export: %v", err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	keep()
}

// spanNames returns the names of the spans that arrived.
func (c *collector) spanNames() (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range c.spans {
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				names = append(names, span.Name)
			}
		}
	}
	return names
}

// histograms returns the histograms that arrived, by name.
func (c *collector) histograms() map[string]*metricpb.HistogramDataPoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	points := map[string]*metricpb.HistogramDataPoint{}
	for _, resource := range c.metrics {
		for _, scope := range resource.ScopeMetrics {
			for _, m := range scope.Metrics {
				points[m.Name] = m.GetHistogram().DataPoints[0]
			}
		}
	}
	return points
}

// stringsOf returns attributes as a map.
func stringsOf(attributes []*commonv1.KeyValue) map[string]string {
	values := map[string]string{}
	for _, kv := range attributes {
		values[kv.Key] = kv.Value.GetStringValue()
	}
	return values
}
