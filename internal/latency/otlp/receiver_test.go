package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/capsign/cap/capsign"
)

// listening starts a receiver on free ports until the test ends.
func listening(t *testing.T) (*Receiver, *kept) {
	t.Helper()
	sink := new(kept)
	receiver, err := Listen(t.Context(), "127.0.0.1:0", "127.0.0.1:0", sink)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(receiver.Stop)
	return receiver, sink
}

// must returns what a constructor makes.
func must[T any](made T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
}

func TestTheSDKsExportersAreUnderstood(t *testing.T) {
	receiver, sink := listening(t)
	ctx := t.Context()
	spans := map[string]sdktrace.SpanExporter{
		"grpc":      must(otlptracegrpc.New(ctx, otlptracegrpc.WithInsecure(), otlptracegrpc.WithEndpoint(receiver.GRPC())))(t),
		"grpc gzip": must(otlptracegrpc.New(ctx, otlptracegrpc.WithInsecure(), otlptracegrpc.WithEndpoint(receiver.GRPC()), otlptracegrpc.WithCompressor("gzip")))(t),
		"http":      must(otlptracehttp.New(ctx, otlptracehttp.WithInsecure(), otlptracehttp.WithEndpoint(receiver.HTTP())))(t),
		"http gzip": must(otlptracehttp.New(ctx, otlptracehttp.WithInsecure(), otlptracehttp.WithEndpoint(receiver.HTTP()), otlptracehttp.WithCompression(otlptracehttp.GzipCompression)))(t),
	}
	for name, exporter := range spans {
		provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
		outer, parent := provider.Tracer("test").Start(ctx, "outer")
		_, child := provider.Tracer("test").Start(outer, name)
		child.End()
		if err := errors.Join(provider.Shutdown(ctx), exporter.Shutdown(ctx)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		context := child.SpanContext()
		sink.mustHold(t, name, context.TraceID().String(), context.SpanID().String(), parent.SpanContext().SpanID().String())
		sink.spans = nil
	}
	metrics := map[string]sdkmetric.Exporter{
		"grpc": must(otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithInsecure(), otlpmetricgrpc.WithEndpoint(receiver.GRPC())))(t),
		"http": must(otlpmetrichttp.New(ctx, otlpmetrichttp.WithInsecure(), otlpmetrichttp.WithEndpoint(receiver.HTTP())))(t),
	}
	for name, exporter := range metrics {
		provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter)))
		histogram := must(provider.Meter("test").Float64Histogram(name))(t)
		histogram.Record(ctx, 0.1)
		if err := provider.Shutdown(ctx); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(sink.metrics) != 1 || sink.metrics[0].Name != name || sink.metrics[0].GetHistogram().DataPoints[0].Count != 1 {
			t.Errorf("%s: %v", name, sink.metrics)
		}
		sink.metrics = nil
	}
}

// post sends a body to a receiver and returns the status.
func post(t *testing.T, receiver *Receiver, path, form, packing string, body []byte) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+receiver.HTTP()+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", form)
	if packing != "" {
		req.Header.Set("Content-Encoding", packing)
	}
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

// line is an export of one span as OTLP's specification writes it.
const line = `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"cap"}}]},"scopeSpans":[{"scope":{"name":"s"},` +
	`"spans":[{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"EEE19B7EC3C1B174","parentSpanId":"EEE19B7EC3C1B173","name":"sign",` +
	`"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000","kind":2,"newerThanUs":true}]}]}]}`

// mustHoldLine says that the sink has that span.
func mustHoldLine(t *testing.T, sink *kept) {
	t.Helper()
	sink.mustHold(t, "sign", "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174", "eee19b7ec3c1b173")
}

func TestJSONIsUnderstood(t *testing.T) {
	receiver, sink := listening(t)
	if status := post(t, receiver, "/v1/traces", "application/json; charset=utf-8", "", []byte(line)); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	mustHoldLine(t, sink)
}

func TestWhatIsNoExportIsRefused(t *testing.T) {
	receiver, sink := listening(t)
	var bomb bytes.Buffer
	packer := gzip.NewWriter(&bomb)
	if _, err := packer.Write(make([]byte, 2*maxExport)); err != nil {
		t.Fatal(err)
	}
	if err := packer.Close(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, path, form, packing string
		body                      []byte
		want                      int
	}{
		{"other form", "/v1/traces", "text/plain", "", []byte(line), 415},
		{"other packing", "/v1/traces", jsonForm, "br", []byte(line), 415},
		{"broken JSON", "/v1/traces", jsonForm, "", []byte(line[:100]), 400},
		{"JSON as protobuf", "/v1/metrics", protoForm, "", []byte(line), 400},
		{"broken gzip", "/v1/traces", jsonForm, "gzip", []byte(line), 400},
		{"too large", "/v1/traces", protoForm, "", make([]byte, maxExport+1), 413},
		{"too large when unpacked", "/v1/traces", protoForm, "gzip", bomb.Bytes(), 413},
		{"other signal", "/v1/logs", jsonForm, "", []byte(`{}`), 404},
	} {
		if got := post(t, receiver, test.path, test.form, test.packing, test.body); got != test.want {
			t.Errorf("%s: status %d, want %d", test.name, got, test.want)
		}
	}
	if len(sink.spans)+len(sink.metrics) > 0 {
		t.Errorf("taken: %v %v", sink.spans, sink.metrics)
	}
}

func TestAnAddressThatCannotBeUsedIsSaid(t *testing.T) {
	receiver, _ := listening(t)
	for address, why := range map[string]string{receiver.HTTP(): "is taken", "nowhere": "not an address", "192.0.2.1:0": "not an address"} {
		for _, at := range [][2]string{{address, ""}, {"127.0.0.1:0", address}} {
			if other, err := Listen(t.Context(), at[0], at[1], new(kept)); !errors.Is(err, capsign.BadRequest) || !strings.Contains(err.Error(), why) || other != nil {
				t.Errorf("%v: %v", at, err)
			}
		}
	}
}

func TestNothingIsTakenAfterTheStop(t *testing.T) {
	receiver, sink := listening(t)
	receiver.Stop()
	exporter := must(otlptracehttp.New(t.Context(), otlptracehttp.WithInsecure(), otlptracehttp.WithEndpoint(receiver.HTTP()),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{})))(t)
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	_, span := provider.Tracer("test").Start(context.Background(), "late")
	span.End()
	if len(sink.spans) > 0 {
		t.Error("taken")
	}
}
