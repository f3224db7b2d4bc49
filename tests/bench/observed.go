package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/capsign/cap/internal/telemetry"
)

// observed measures what a load costs with telemetry at its default sampling,
// exported to a collector on loopback, as a share of what it costs without. They
// take turns, and the collector, which drops what it gets, is in the figures.
func observed(sync durability, work load) func(context.Context, *pass) (figures, error) {
	return func(ctx context.Context, p *pass) (figures, error) {
		var sums [2]figures // without, with
		for turn, on := range []int{0, 1, 1, 0} {
			measure := throughput(embeddedSite, sync, work)
			if on == 1 {
				measure = exporting(measure)
			}
			f, err := measure(ctx, p.in(strconv.Itoa(turn)))
			if err != nil {
				return nil, err
			}
			if f[perSecond] == 0 {
				return f, nil // stood still: there is no share of nothing
			}
			if sums[on] == nil {
				sums[on] = make(figures)
			}
			for _, name := range []figure{perSecond, cpu} {
				sums[on][name] += f[name] / 2
			}
		}
		without, with := sums[0], sums[1]
		return figures{
			telemetryCPU:  100 * (with[cpu]/without[cpu] - 1),
			telemetryRate: 100 * (1 - with[perSecond]/without[perSecond]),
			perSecond:     with[perSecond], cpu: with[cpu],
		}, nil
	}
}

// exporting makes a measurement with telemetry on.
func exporting(measure func(context.Context, *pass) (figures, error)) func(context.Context, *pass) (figures, error) {
	return func(ctx context.Context, p *pass) (_ figures, err error) {
		var received atomic.Int64
		sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body) // cut off, it counts as far as it came
			received.Add(n)
		}))
		defer sink.Close()
		defer setenv(map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": sink.URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
			"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp",
			// By default metrics are exported every minute and spans every five seconds,
			// which a round would not see.
			"OTEL_METRIC_EXPORT_INTERVAL": "500", "OTEL_BSP_SCHEDULE_DELAY": "500",
		})()
		stop, err := telemetry.Start(ctx, "cap-bench", "0.0.0")
		if err != nil {
			return nil, err
		}
		f, err := measure(ctx, p)
		err = errors.Join(err, stop(ctx))
		otel.SetTracerProvider(tracenoop.NewTracerProvider())
		otel.SetMeterProvider(metricnoop.NewMeterProvider())
		if err == nil && received.Load() == 0 {
			err = errors.New("nothing was exported")
		}
		return f, err
	}
}
