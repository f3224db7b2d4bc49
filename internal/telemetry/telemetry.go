// Package telemetry starts and stops OpenTelemetry as the OTEL_* environment
// variables say. What is measured is in the otel.go files of the packages that
// do the work.
package telemetry

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/capsign/cap/capsign"
)

const (
	// sampleRatio is the share of traces that are recorded where neither the
	// publisher nor OTEL_TRACES_SAMPLER decides.
	sampleRatio = 0.01
	// stopTimeout bounds the last export, whatever the caller's deadline.
	stopTimeout = 3 * time.Second
)

// Start sets OpenTelemetry's global providers up for a process of service, as
// the OTEL_* environment variables say. Nothing is on, and nothing is dialled,
// unless OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER or an OTLP endpoint is
// set; OTEL_SDK_DISABLED turns all off. A trace is sampled where its parent is;
// one without a parent as OTEL_TRACES_SAMPLER says, by default one in a hundred.
//
// Spans wait in a bounded queue and are dropped when it is full: a collector
// that is slow or away never holds up signing.
//
// shutdown exports what waits until ctx ends, three seconds at most. It always
// returns nil: a collector that is away is no reason for a process to fail. An
// error of Start wraps capsign.ConfigInvalid.
func Start(ctx context.Context, service, version string) (shutdown func(context.Context) error, err error) {
	if disabled() || !wanted(traces) && !wanted(metrics) {
		return func(context.Context) error { return nil }, nil
	}
	quieten()
	res, err := describe(ctx, service, version)
	if err != nil {
		return nil, err
	}
	var started providers
	for _, start := range []func(context.Context, *resource.Resource) (stopper, error){startTraces, startMetrics} {
		provider, err := start(ctx, res)
		if err != nil {
			_ = started.stop(ctx) // nothing was recorded yet
			return nil, err
		}
		started = append(started, provider)
	}
	return started.stop, nil
}

// signal is one kind of telemetry, as the environment's names spell it.
type signal string

const (
	traces  signal = "TRACES"
	metrics signal = "METRICS"
)

// disabled reports whether OTEL_SDK_DISABLED turns everything off.
func disabled() bool { return strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") }

// wanted reports whether the environment asks for a signal.
func wanted(s signal) bool {
	switch os.Getenv("OTEL_" + string(s) + "_EXPORTER") {
	case "none":
		return false
	case "":
		return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" ||
			os.Getenv("OTEL_EXPORTER_OTLP_"+string(s)+"_ENDPOINT") != ""
	}
	return true
}

// startTraces makes the global tracer provider, or none.
func startTraces(ctx context.Context, res *resource.Resource) (stopper, error) {
	if !wanted(traces) {
		return nil, nil
	}
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("telemetry: OTEL_TRACES_EXPORTER or its protocol: %w", capsign.ConfigInvalid)
	}
	opts := []trace.TracerProviderOption{trace.WithBatcher(exporter), trace.WithResource(res)}
	if strings.TrimSpace(os.Getenv("OTEL_TRACES_SAMPLER")) == "" {
		opts = append(opts, trace.WithSampler(trace.ParentBased(trace.TraceIDRatioBased(sampleRatio))))
	}
	provider := trace.NewTracerProvider(opts...)
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{}) // no baggage: it is the requester's data
	return provider, nil
}

// startMetrics makes the global meter provider, or none.
func startMetrics(ctx context.Context, res *resource.Resource) (stopper, error) {
	if !wanted(metrics) {
		return nil, nil
	}
	reader, err := autoexport.NewMetricReader(ctx)
	if err != nil {
		return nil, fmt.Errorf("telemetry: OTEL_METRICS_EXPORTER or its protocol or port: %w", capsign.ConfigInvalid)
	}
	provider := metric.NewMeterProvider(metric.WithReader(reader), metric.WithResource(res), metric.WithView(durations()))
	otel.SetMeterProvider(provider)
	return provider, nil
}

// stopper is what both providers have.
type stopper interface{ Shutdown(context.Context) error }

// providers are those that were started; nil ones were not wanted.
type providers []stopper

// stop stops all at once and waits for them until ctx ends.
func (p providers) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, provider := range p {
		if provider != nil {
			wg.Go(func() { handle(ctx, provider.Shutdown(ctx)) })
		}
	}
	wg.Wait()
	return nil
}

// quieten keeps the SDK's own words off stderr: they may quote an endpoint or
// a collector's answer.
func quieten() {
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { handle(context.Background(), err) }))
}
