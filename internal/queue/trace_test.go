package queue_test

import (
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/audit"
)

// record collects spans until the test ends, and returns them.
func record(t *testing.T) *tracetest.SpanRecorder {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)))
	t.Cleanup(func() { otel.SetTracerProvider(before) })
	return recorder
}

func TestOneRequestIsOneTrace(t *testing.T) {
	recorder := record(t)
	p := newServer(t)
	p.config.VerifySignatures, p.config.Audit = true, auditor(func(audit.Record) error { return nil })
	p.startWorker(t)
	if _, err := p.client(t, capsign.ClientConfig{}).Sign(t.Context(), []byte("hello")); err != nil {
		t.Fatal(err)
	}
	parents := map[string]string{
		"publish cap.job": "", "process cap.job": "publish cap.job", "wait cap.slot": "process cap.job", "sign": "process cap.job",
		"verify": "process cap.job", "audit": "process cap.job", "store cap.store": "process cap.job",
	}
	eventually(t, "all spans have ended", func() bool { return len(recorder.Ended()) >= len(parents) })
	spans := make(map[string]sdktrace.ReadOnlySpan)
	for _, span := range recorder.Ended() {
		spans[span.Name()] = span
	}
	for name, parent := range parents {
		span := spans[name]
		if span == nil {
			t.Fatalf("no span %q", name)
		}
		if span.SpanContext().TraceID() != spans["publish cap.job"].SpanContext().TraceID() {
			t.Errorf("%q is in another trace", name)
		}
		if parent != "" && span.Parent().SpanID() != spans[parent].SpanContext().SpanID() {
			t.Errorf("%q is not a child of %q", name, parent)
		}
	}
	if links := spans["process cap.job"].Links(); len(links) != 1 {
		t.Errorf("%d links, want one to the publisher", len(links))
	}
	for name, want := range map[string][]attribute.KeyValue{
		"process cap.job": {
			attribute.String("cap.pool", "default"), attribute.String("cap.lane", "express"),
			attribute.String("cap.provider", capsign.ProviderSoftware), attribute.Int("messaging.batch.message_count", 1),
		},
		"sign": {attribute.String("cap.class", string(capsign.ClassSoftware)), attribute.String("cap.alg", string(capsign.Ed25519))},
	} {
		for _, attr := range want {
			if !slices.Contains(spans[name].Attributes(), attr) {
				t.Errorf("%q has %v, want %v", name, spans[name].Attributes(), attr)
			}
		}
	}
}

// What a budget is judged by must say who took the time: the provider, and not
// the check of what it returned.
func TestVerifyingIsNoPartOfTheProvidersTime(t *testing.T) {
	recorder := record(t)
	p := newServer(t)
	p.config.VerifySignatures = true
	p.startWorker(t)
	if _, err := p.client(t, capsign.ClientConfig{}).Sign(t.Context(), []byte("hello")); err != nil {
		t.Fatal(err)
	}
	sign, verify := p.span(t, recorder, "sign"), p.span(t, recorder, "verify")
	if verify.StartTime().Before(sign.EndTime()) {
		t.Errorf("verify began %v before sign ended", sign.EndTime().Sub(verify.StartTime()))
	}
}

func TestTimeInTheQueueIsInTheSpan(t *testing.T) {
	recorder := record(t)
	p := newPool(t)
	if _, err := capsign.PausePool(t.Context(), p.nc, "default"); err != nil {
		t.Fatal(err)
	}
	req := p.newRequest()
	p.publish(t, p.subject(capsign.Express), encode(t, req))
	lay := time.Now()
	if _, err := capsign.ResumePool(t.Context(), p.nc, "default"); err != nil {
		t.Fatal(err)
	}
	p.result(t, req.ID)
	resumed := time.Since(lay)
	process := p.span(t, recorder, "process cap.job")
	for _, attr := range process.Attributes() {
		if attr.Key == "cap.queue.wait" {
			if waited := attr.Value.AsFloat64(); waited <= 0 || waited > resumed.Seconds()+1 {
				t.Errorf("waited %v s, published %v before its result", waited, resumed)
			}
			return
		}
	}
	t.Errorf("attributes %v lack cap.queue.wait", process.Attributes())
}

// span waits for a span to end and returns it.
func (p *pool) span(t *testing.T, recorder *tracetest.SpanRecorder, name string) sdktrace.ReadOnlySpan {
	t.Helper()
	var found sdktrace.ReadOnlySpan
	eventually(t, "the span "+name+" has ended", func() bool {
		for _, span := range recorder.Ended() {
			if span.Name() == name {
				found = span
			}
		}
		return found != nil
	})
	return found
}

func TestRefusalMarksItsSpanWithTheCodeAlone(t *testing.T) {
	recorder := record(t)
	p := newPool(t)
	req := p.newRequest()
	req.KID = newMemorySigner(t, "other").key.KID
	p.publish(t, p.subject(capsign.Express), encode(t, req))
	p.result(t, req.ID)
	eventually(t, "the span has ended", func() bool {
		return slices.ContainsFunc(recorder.Ended(), func(s sdktrace.ReadOnlySpan) bool { return s.Name() == "process cap.job" })
	})
	for _, span := range recorder.Ended() {
		if span.Name() != "process cap.job" {
			continue
		}
		if status := span.Status(); status.Code != codes.Error || status.Description != string(capsign.KIDUnknown) {
			t.Errorf("status %+v, want the code", status)
		}
		if !slices.Contains(span.Attributes(), attribute.String("error.type", string(capsign.KIDUnknown))) {
			t.Errorf("attributes %v lack error.type", span.Attributes())
		}
	}
}

func TestDurationsAreMeasured(t *testing.T) {
	reader := metric.NewManualReader()
	before := otel.GetMeterProvider()
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
	t.Cleanup(func() { otel.SetMeterProvider(before) })
	p := newPool(t)
	if _, err := p.client(t, capsign.ClientConfig{}).Sign(t.Context(), []byte("hello")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"messaging.client.operation.duration", "messaging.process.duration", "cap.provider.sign.duration", "cap.queue.wait"} {
		eventually(t, name, func() bool { return count(t, reader, name) == 1 })
	}
}

// count returns how many values a histogram has seen.
func count(t *testing.T, reader metric.Reader, name string) uint64 {
	t.Helper()
	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	var n uint64
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			if histogram, ok := m.Data.(metricdata.Histogram[float64]); ok && m.Name == name {
				for _, point := range histogram.DataPoints {
					n += point.Count
				}
			}
		}
	}
	return n
}
