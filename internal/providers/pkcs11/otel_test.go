package pkcs11

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/capsign/cap/capsign"
)

// record collects spans until the test ends.
func record(t *testing.T, sampler sdktrace.Sampler) *tracetest.SpanRecorder {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder), sdktrace.WithSampler(sampler)))
	t.Cleanup(func() { otel.SetTracerProvider(before) })
	return recorder
}

// waits returns how long the recorded waits for a session were.
func waits(recorder *tracetest.SpanRecorder) (waits []time.Duration) {
	for _, span := range recorder.Ended() {
		if span.Name() == "wait cap.session" {
			waits = append(waits, span.EndTime().Sub(span.StartTime()))
		}
	}
	return waits
}

func TestAWaitForASessionIsASpan(t *testing.T) {
	recorder := record(t, sdktrace.AlwaysSample())
	synctest.Test(t, func(t *testing.T) {
		ts := newThreads(1, sessionWait)
		synctest.Wait() // the thread waits for jobs
		ctx, sign := otel.Tracer("test").Start(t.Context(), "sign")
		defer sign.End()
		work := func(*thread) error { time.Sleep(40 * time.Millisecond); return nil }
		first := make(chan error)
		go func() { first <- ts.do(ctx, time.Second, work) }()
		synctest.Wait() // it has the only session, without a wait
		if err := ts.do(ctx, time.Second, work); err != nil {
			t.Error(err)
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
		ts.stop()
		if diff := cmp.Diff([]time.Duration{40 * time.Millisecond}, waits(recorder)); diff != "" {
			t.Error(diff)
		}
		for _, span := range recorder.Ended() {
			if span.Parent().SpanID() != sign.SpanContext().SpanID() {
				t.Errorf("%q is not within the signature's span", span.Name())
			}
		}
	})
}

func TestAWaitThatNobodyRecordsIsNoSpan(t *testing.T) {
	recorder := record(t, sdktrace.ParentBased(sdktrace.AlwaysSample()))
	ts := newThreads(1, sessionWait)
	defer ts.stop()
	for range 2 { // the second may have to wait
		if err := ts.do(t.Context(), time.Second, func(*thread) error { return nil }); err != nil {
			t.Error(err)
		}
	}
	if spans := recorder.Ended(); len(spans) != 0 {
		t.Errorf("%d spans of a trace of their own", len(spans))
	}
}

func TestAWaitInVainHasTheCode(t *testing.T) {
	recorder := record(t, sdktrace.AlwaysSample())
	synctest.Test(t, func(t *testing.T) {
		ts := newThreads(1, sessionWait)
		release := make(chan struct{})
		go func() { _ = ts.do(t.Context(), time.Minute, inside(release)) }()
		synctest.Wait()
		ctx, sign := otel.Tracer("test").Start(t.Context(), "sign")
		defer sign.End()
		if err := ts.do(ctx, time.Second, inside(release)); !errors.Is(err, capsign.ProviderHung) {
			t.Errorf("a wait behind a call that hangs: %v", err)
		}
		close(release)
		synctest.Wait()
		ts.stop()
	})
	if n := len(recorder.Ended()); n != 2 { // the wait and sign
		t.Fatalf("%d spans", n)
	}
	if got := recorder.Ended()[0].Attributes(); !cmp.Equal(got, []attribute.KeyValue{attrErrorType.String("provider_hung")}, cmp.AllowUnexported(attribute.Value{})) {
		t.Errorf("attributes %v", got)
	}
}
