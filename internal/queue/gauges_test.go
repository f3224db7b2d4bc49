package queue_test

import (
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/capsign/cap/capsign"
)

// measured has metrics collected by a reader until the test ends.
func measured(t *testing.T) metric.Reader {
	t.Helper()
	reader := metric.NewManualReader()
	before := otel.GetMeterProvider()
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
	t.Cleanup(func() { otel.SetMeterProvider(before) })
	return reader
}

// gauge returns the value that a gauge has for a lane, or for no lane in
// particular where that is empty, and false where it has none.
func gauge(t *testing.T, reader metric.Reader, name string, lane capsign.Lane) (value float64, code string, seen bool) {
	t.Helper()
	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != name {
				continue
			}
			switch points := m.Data.(type) {
			case metricdata.Gauge[int64]:
				for _, p := range points.DataPoints {
					if at, _ := p.Attributes.Value("cap.lane"); at.AsString() == string(lane) {
						c, _ := p.Attributes.Value("error.type")
						value, code, seen = float64(p.Value), c.AsString(), true
					}
				}
			case metricdata.Gauge[float64]:
				for _, p := range points.DataPoints {
					if at, _ := p.Attributes.Value("cap.lane"); at.AsString() == string(lane) {
						value, seen = p.Value, true
					}
				}
			}
		}
	}
	return value, code, seen
}

func TestGaugesTellOfTheQueueAndTheWorker(t *testing.T) {
	reader := measured(t)
	p := newPool(t)
	is := func(name string, lane capsign.Lane, want float64) func() bool {
		return func() bool { got, _, seen := gauge(t, reader, name, lane); return seen && got == want }
	}
	eventually(t, "the worker is ready", is("cap.worker.ready", "", 1))
	if age, _, seen := gauge(t, reader, "cap.queue.age", capsign.Bulk); !seen || age != 0 {
		t.Errorf("an empty lane's oldest request is %v s old, seen: %v", age, seen)
	}
	if limit, _, _ := gauge(t, reader, "cap.slots.limit", capsign.Bulk); limit < 1 {
		t.Errorf("%v slots", limit)
	}

	if _, err := capsign.PausePool(t.Context(), p.nc, "default"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the worker stands still", is("cap.worker.ready", "", 0))
	if _, code, _ := gauge(t, reader, "cap.worker.ready", ""); code != string(capsign.PausedByOperator) {
		t.Errorf("code %q, want %s", code, capsign.PausedByOperator)
	}
	for range 3 {
		p.publish(t, p.subject(capsign.Bulk), encode(t, p.newRequest()))
	}
	eventually(t, "three requests wait", is("cap.queue.waiting", capsign.Bulk, 3))
	if n, _, _ := gauge(t, reader, "cap.queue.waiting", capsign.Express); n != 0 {
		t.Errorf("%v requests wait on the other lane", n)
	}
	if age, _, seen := gauge(t, reader, "cap.queue.age", capsign.Bulk); !seen || age <= 0 {
		t.Errorf("the oldest request is %v s old, seen: %v", age, seen)
	}

	if _, err := capsign.ResumePool(t.Context(), p.nc, "default"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "none wait", is("cap.queue.waiting", capsign.Bulk, 0))
	eventually(t, "none is in hand", is("cap.queue.in_hand", capsign.Bulk, 0))
}

func TestStoppedWorkerIsObservedNoMore(t *testing.T) {
	reader := measured(t)
	p := newServer(t)
	stop(t, p.startWorker(t))
	if _, _, seen := gauge(t, reader, "cap.worker.ready", ""); seen {
		t.Error("a stopped worker still tells whether it is ready")
	}
}
