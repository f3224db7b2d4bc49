package capsign

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// The traceparent of the W3C recommendation's examples.
const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// traced returns a context with a span, sampled or not.
func traced(t testing.TB, flags trace.TraceFlags) context.Context {
	t.Helper()
	traceID, errTrace := trace.TraceIDFromHex(traceparent[3:35])
	spanID, errSpan := trace.SpanIDFromHex(traceparent[36:52])
	if errTrace != nil || errSpan != nil {
		t.Fatal(errTrace, errSpan)
	}
	return trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: traceID, SpanID: spanID, TraceFlags: flags,
	}))
}

// extracted returns the span that headers carry.
func extracted(t testing.TB, header nats.Header) trace.SpanContext {
	t.Helper()
	return trace.SpanContextFromContext(ExtractTrace(t.Context(), header))
}

func TestSampledTraceTravelsInLowerCase(t *testing.T) {
	want := nats.Header{"traceparent": {traceparent}}
	if diff := cmp.Diff(want, SampledHeader(traced(t, trace.FlagsSampled))); diff != "" {
		t.Error(diff)
	}
}

func TestUnsampledTraceCostsNoHeader(t *testing.T) {
	for name, ctx := range map[string]context.Context{"none": t.Context(), "unsampled": traced(t, 0)} {
		if header := SampledHeader(ctx); header != nil {
			t.Errorf("%s: headers %v, want nil", name, header)
		}
	}
}

func TestTraceIsFoundHoweverItsNameIsWritten(t *testing.T) {
	for _, name := range []string{"traceparent", "Traceparent", "TRACEPARENT", "TraceParent"} {
		span := extracted(t, nats.Header{"Other": {"x"}, name: {traceparent}})
		if !span.IsValid() || !span.IsRemote() || !span.IsSampled() || span.SpanID().String() != "00f067aa0ba902b7" {
			t.Errorf("%s: span %v", name, span)
		}
	}
}

// What a publisher with OpenTelemetry's own carrier for HTTP writes, which is
// not lower-case.
func TestTraceOfAnHTTPCarrierIsFound(t *testing.T) {
	header := nats.Header{}
	propagation.TraceContext{}.Inject(traced(t, trace.FlagsSampled), propagation.HeaderCarrier(header))
	if _, lower := header["traceparent"]; lower {
		t.Fatal("HeaderCarrier writes lower case now: the test has lost its point")
	}
	if !extracted(t, header).IsSampled() {
		t.Error("the trace is lost")
	}
}

func TestLowerCaseWinsThenHTTPsForm(t *testing.T) {
	other := strings.Replace(traceparent, "00f0", "ffff", 1)
	for _, header := range []nats.Header{
		{"TRACEPARENT": {other}, "Traceparent": {other}, "traceparent": {traceparent}},
		{"TRACEPARENT": {other}, "Traceparent": {traceparent}, "traceParent": {other}},
	} {
		if got := extracted(t, header).SpanID().String(); got != "00f067aa0ba902b7" {
			t.Errorf("span %s", got)
		}
	}
}

func TestInjectReplacesEveryWriting(t *testing.T) {
	header := nats.Header{"Traceparent": {"old"}, "TRACEPARENT": {"old"}, "Other": {"x"}}
	InjectTrace(traced(t, trace.FlagsSampled), header)
	want := nats.Header{"traceparent": {traceparent}, "Other": {"x"}}
	if diff := cmp.Diff(want, header); diff != "" {
		t.Error(diff)
	}
}

func TestMalformedTraceIsIgnored(t *testing.T) {
	for name, values := range map[string][]string{
		"none":           nil,
		"empty":          {""},
		"short":          {traceparent[:54]},
		"long":           {traceparent + "0"},
		"long, extended": {"01" + traceparent[2:] + "-00"},
		"upper case":     {strings.ToUpper(traceparent)},
		"version ff":     {"ff" + traceparent[2:]},
		"not hex":        {strings.Replace(traceparent, "4bf9", "4bg9", 1)},
		"zero trace":     {"00-" + strings.Repeat("0", 32) + traceparent[35:]},
		"zero span":      {traceparent[:36] + strings.Repeat("0", 16) + "-01"},
		"other dashes":   {strings.ReplaceAll(traceparent, "-", "_")},
		"line break":     {"\n" + traceparent[1:]},
		"twice":          {traceparent, traceparent},
		"64 KiB":         {strings.Repeat("0", 1<<16)},
	} {
		if span := extracted(t, nats.Header{"traceparent": values}); span.IsValid() {
			t.Errorf("%s: span %v", name, span)
		}
	}
}

func TestMalformedTraceLeavesTheContextAlone(t *testing.T) {
	ctx := traced(t, trace.FlagsSampled)
	if ExtractTrace(ctx, nats.Header{"traceparent": {"junk"}}) != ctx || ExtractTrace(ctx, nil) != ctx {
		t.Error("the context is another one")
	}
}

func TestBaggageIsIgnored(t *testing.T) {
	header := nats.Header{"traceparent": {traceparent}, "baggage": {"user=" + strings.Repeat("x", 64<<10)}}
	again := SampledHeader(ExtractTrace(t.Context(), header))
	if diff := cmp.Diff(nats.Header{"traceparent": {traceparent}}, again); diff != "" {
		t.Error(diff)
	}
}

func TestTracestateIsBounded(t *testing.T) {
	state := "vendor=" + strings.Repeat("x", 200)
	long := state + "," + "a=" + strings.Repeat("x", 250) + ",b=" + strings.Repeat("x", 60)
	for value, want := range map[string]string{state: state, long: ""} {
		span := extracted(t, nats.Header{"traceparent": {traceparent}, "tracestate": {value}})
		if !span.IsValid() || span.TraceState().String() != want {
			t.Errorf("tracestate of %d bytes: %d bytes passed on, valid %v", len(value), len(span.TraceState().String()), span.IsValid())
		}
	}
}

func FuzzExtractTrace(f *testing.F) {
	f.Add("traceparent", traceparent, "a=b")
	f.Add("Traceparent", "01"+traceparent[2:], strings.Repeat("a=b,", 40))
	f.Fuzz(func(t *testing.T, name, parent, state string) {
		header := nats.Header{name: {parent}, "tracestate": {state}}
		span := extracted(t, header)
		if !span.IsValid() {
			return
		}
		if len(parent) != traceparentSize || parent != strings.ToLower(parent) || !strings.EqualFold(name, "traceparent") {
			t.Errorf("%q: %q gives a span", name, parent)
		}
		ctx := trace.ContextWithRemoteSpanContext(t.Context(), span)
		again := nats.Header{}
		InjectTrace(ctx, again)
		if !extracted(t, again).Equal(span) {
			t.Errorf("%v became %v", span, extracted(t, again))
		}
	})
}
