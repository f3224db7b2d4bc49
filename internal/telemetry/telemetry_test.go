package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/capsign/cap/capsign"
)

// start starts telemetry that must start.
func start(t *testing.T) (stop func(context.Context) error) {
	t.Helper()
	stop, err := Start(t.Context(), "cap-worker", "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	return stop
}

// span makes one span, "sign", of a trace of its own.
func span(t *testing.T) trace.SpanContext {
	_, span := otel.Tracer("test").Start(t.Context(), "sign")
	defer span.End()
	return span.SpanContext()
}

func TestNothingIsOnUnlessConfigured(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"unset":         {},
		"none":          {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
		"disabled":      {"OTEL_SDK_DISABLED": "TRUE", "OTEL_TRACES_EXPORTER": "otlp"},
		"other signals": {"OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://127.0.0.1:1"},
		"only sampler":  {"OTEL_TRACES_SAMPLER": "always_on"},
	} {
		t.Run(name, func(t *testing.T) {
			setEnv(t, env)
			tracers, meters := otel.GetTracerProvider(), otel.GetMeterProvider()
			stop := start(t)
			if otel.GetTracerProvider() != tracers || otel.GetMeterProvider() != meters {
				t.Error("the global providers changed")
			}
			if err := stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSpansArrive(t *testing.T) {
	collector := newCollector(t)
	setEnv(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_TRACES_SAMPLER": "always_on"})
	stop := start(t)
	span(t)
	if err := stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"sign"}, collector.spanNames()); diff != "" {
		t.Error(diff)
	}
}

func TestOneSignalAloneIsOn(t *testing.T) {
	collector := newCollector(t)
	setEnv(t, map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": collector.URL + "/v1/metrics"})
	tracers := otel.GetTracerProvider()
	stop := start(t)
	if otel.GetTracerProvider() != tracers {
		t.Error("tracing is on as well")
	}
	record(t, "test.duration", 0.1)
	if err := stop(t.Context()); err != nil || collector.histograms()["test.duration"] == nil {
		t.Errorf("no metrics arrived; %v", err)
	}
}

// record records one value in a histogram of seconds.
func record(t *testing.T, name string, seconds float64) {
	t.Helper()
	histogram, err := otel.Meter("test").Float64Histogram(name, metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(1, 2))
	if err != nil {
		t.Fatal(err)
	}
	histogram.Record(t.Context(), seconds)
}

func TestDurationsHaveTheBudgetsEdges(t *testing.T) {
	collector := newCollector(t)
	setEnv(t, map[string]string{"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL})
	stop := start(t)
	record(t, "messaging.process.duration", 0.1)
	if err := stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	edges := collector.histograms()["messaging.process.duration"].GetExplicitBounds()
	for _, budget := range []float64{.05, .15, .2} {
		if !slices.Contains(edges, budget) {
			t.Errorf("no edge at %v s among %v", budget, edges)
		}
	}
	if !slices.IsSorted(edges) {
		t.Errorf("edges %v are not in order", edges)
	}
}

func TestResourceIsMinimal(t *testing.T) {
	collector := newCollector(t)
	setEnv(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_TRACES_SAMPLER": "always_on"})
	var ids []string
	for range 2 {
		stop := start(t)
		span(t)
		if err := stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		attributes := stringsOf(collector.spans[len(collector.spans)-1].Resource.Attributes)
		ids = append(ids, attributes["service.instance.id"])
		delete(attributes, "service.instance.id")
		if diff := cmp.Diff(map[string]string{"service.name": "cap-worker", "service.version": "1.2.3"}, attributes); diff != "" {
			t.Error(diff)
		}
	}
	if ids[0] == ids[1] || !regexp.MustCompile(`^[0-9a-f-]{36}$`).MatchString(ids[0]) {
		t.Errorf("instance ids %v are not random", ids)
	}
}

func TestTheEnvironmentNamesTheService(t *testing.T) {
	collector := newCollector(t)
	setEnv(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_TRACES_SAMPLER": "always_on",
		"OTEL_SERVICE_NAME": "signers", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
	})
	stop := start(t)
	span(t)
	if err := stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	attributes := stringsOf(collector.spans[0].Resource.Attributes)
	if attributes["service.name"] != "signers" || attributes["deployment.environment.name"] != "test" {
		t.Errorf("attributes %v", attributes)
	}
}

func TestOneTraceInAHundredIsSampledByDefault(t *testing.T) {
	setEnv(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": newCollector(t).URL})
	stop := start(t)
	defer stop(t.Context()) //nolint:errcheck // it returns nil
	sampled := 0
	for range 5000 {
		if span(t).IsSampled() {
			sampled++
		}
	}
	if sampled < 10 || sampled > 150 { // 50 expected; 10 standard deviations would be 70
		t.Errorf("%d of 5000 traces are sampled", sampled)
	}
}

func TestASampledParentIsFollowed(t *testing.T) {
	setEnv(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": newCollector(t).URL})
	stop := start(t)
	defer stop(t.Context()) //nolint:errcheck // it returns nil
	for flags, want := range map[string]bool{"01": true, "00": false} {
		carrier := propagation.MapCarrier{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-" + flags}
		ctx := otel.GetTextMapPropagator().Extract(t.Context(), carrier)
		_, span := otel.Tracer("test").Start(ctx, "process")
		if got := span.SpanContext().IsSampled(); got != want {
			t.Errorf("parent with flags %s: sampled %v", flags, got)
		}
		span.End()
	}
}

func TestBaggageIsNotPropagated(t *testing.T) {
	setEnv(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": newCollector(t).URL, "OTEL_PROPAGATORS": "tracecontext,baggage"})
	stop := start(t)
	defer stop(t.Context()) //nolint:errcheck // it returns nil
	carrier := propagation.MapCarrier{"baggage": "user=alice"}
	ctx := otel.GetTextMapPropagator().Extract(t.Context(), carrier)
	if baggage.FromContext(ctx).Len() != 0 || slices.Contains(otel.GetTextMapPropagator().Fields(), "baggage") {
		t.Error("baggage is read")
	}
}

func TestBadEnvironmentIsRefused(t *testing.T) {
	for name, value := range map[string]string{
		"OTEL_TRACES_EXPORTER": "hunter2", "OTEL_METRICS_EXPORTER": "hunter2",
		"OTEL_EXPORTER_OTLP_PROTOCOL": "hunter2", "OTEL_RESOURCE_ATTRIBUTES": "hunter2",
	} {
		t.Run(name, func(t *testing.T) {
			setEnv(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", name: value})
			_, err := Start(t.Context(), "cap-worker", "1.2.3")
			if !errors.Is(err, capsign.ConfigInvalid) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// silentCollector accepts connections and never answers.
func silentCollector(t *testing.T) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return "http://" + listener.Addr().String()
}

func TestSilentCollectorHoldsNothingUp(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			setEnv(t, map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": silentCollector(t), "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
				"OTEL_TRACES_SAMPLER": "always_on", "OTEL_BSP_SCHEDULE_DELAY": "10", "OTEL_BSP_EXPORT_TIMEOUT": "2000",
			})
			stop := start(t)
			begin := time.Now()
			for range 10_000 { // the queue holds 2048
				span(t)
			}
			record(t, "test.duration", 0.1)
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if err := stop(ctx); err != nil {
				t.Error(err)
			}
			if took := time.Since(begin); took > 1900*time.Millisecond {
				t.Errorf("10,000 spans and the stop took %v", took)
			}
		})
	}
}

// stuck is a provider that stops only when it must.
type stuck struct{}

func (stuck) Shutdown(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func TestStopIsBoundedWhateverTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if err := (providers{stuck{}, nil, stuck{}}).stop(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took != stopTimeout {
			t.Errorf("took %v", took)
		}
	})
}

func TestLostTelemetryIsLoggedAsAClass(t *testing.T) {
	var out strings.Builder
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(func() { slog.SetDefault(before) })
	handle(t.Context(), errors.New("POST https://user:hunter2@collector: 401 hunter2"))
	handle(t.Context(), &net.OpError{Op: "dial", Err: errors.New("hunter2")})
	handle(t.Context(), context.DeadlineExceeded)
	handle(t.Context(), nil)
	for _, want := range []string{"level=DEBUG", "class=exporter", "class=network", "class=timeout"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "hunter2") || strings.Count(out.String(), "\n") != 3 {
		t.Error(out.String())
	}
}
