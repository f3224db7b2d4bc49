package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/capsign/cap/capsign"
)

// describe returns the attributes that go with everything a process exports:
// its name, its version and a random id, no host, user or path.
// OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES add to them and win.
func describe(ctx context.Context, service, version string) (*resource.Resource, error) {
	res, err := resource.New(ctx,
		resource.WithAttributes(
			semconv.ServiceName(service),
			semconv.ServiceVersion(version),
			semconv.ServiceInstanceID(uuid.NewString()),
		),
		resource.WithFromEnv(),
	)
	if err != nil {
		return nil, fmt.Errorf("telemetry: OTEL_RESOURCE_ATTRIBUTES: %w", capsign.ConfigInvalid)
	}
	return res, nil
}

// durations gives every histogram of seconds the edges that the budgets need,
// 50, 150 and 200 ms, and enough below them for a key in memory.
func durations() metric.View {
	return metric.NewView(
		metric.Instrument{Kind: metric.InstrumentKindHistogram, Unit: "s"},
		metric.Stream{Aggregation: metric.AggregationExplicitBucketHistogram{Boundaries: []float64{
			.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .075, .1, .15, .2, .3, .5, 1, 2.5, 5, 10,
		}}},
	)
}

// handle logs, at debug, that telemetry was lost, and of why only the class.
func handle(ctx context.Context, err error) {
	if err == nil {
		return
	}
	slog.DebugContext(ctx, "telemetry lost", "class", classOf(err)) //nolint:sloglint // the SDK's error handler is global, and so is its log
}

// classOf returns what kind of error an exporter had.
func classOf(err error) string {
	_, network := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "timeout"
	case network:
		return "network"
	}
	return "exporter"
}
