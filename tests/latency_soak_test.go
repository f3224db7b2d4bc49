//go:build soak

package tests

import (
	"encoding/binary"
	"runtime"
	"sync"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/capsign/cap/internal/latency"
	"github.com/capsign/cap/internal/latency/otlp"
)

// TestAMillionAndAHalfSpansPass sends 300,000 requests of five spans over gRPC,
// from four exporters at once. None may be lost, and memory may not grow with
// them.
func TestAMillionAndAHalfSpansPass(t *testing.T) {
	const exporters, exports, requests, spans = 4, 375, 200, 5
	check := latency.NewCheck(latency.Default(), latency.Options{Signatures: exporters * exports * requests})
	receiver, err := otlp.Listen(t.Context(), "127.0.0.1:0", "", check)
	if err != nil {
		t.Fatal(err)
	}
	var sending sync.WaitGroup
	began := time.Now()
	for e := range exporters {
		sending.Go(func() {
			conn, err := grpc.NewClient(receiver.GRPC(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			client := collectorpb.NewTraceServiceClient(conn)
			for i := range exports {
				first := uint64((e*exports + i) * requests)
				if _, err := client.Export(t.Context(), exportOf(first, requests)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	sending.Wait()
	receiver.Stop()
	took := time.Since(began)
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	if memory.HeapAlloc > 150<<20 {
		t.Errorf("%d MiB are in use", memory.HeapAlloc>>20)
	}
	t.Logf("%.0f spans/s, %d MiB in use", exporters*exports*requests*spans/took.Seconds(), memory.HeapAlloc>>20)
	report := check.Report()
	if c := report.Counts; c.Spans != exporters*exports*requests*spans || c.Requests != exporters*exports*requests || c.Incomplete != 0 {
		t.Errorf("%+v", c)
	}
	if l := report.Lines[0]; l.Samples != exporters*exports*requests {
		t.Errorf("%+v", l)
	}
}

// exportOf returns the export of so many requests from the first on.
func exportOf(first, requests uint64) *collectorpb.ExportTraceServiceRequest {
	text := func(key, value string) *commonpb.KeyValue {
		return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
	}
	where := []*commonpb.KeyValue{text("cap.pool", "default"), text("cap.lane", "express")}
	var all []*tracepb.Span
	for n := first + 1; n <= first+requests; n++ {
		add := func(name string, id, parent uint64, attributes ...*commonpb.KeyValue) {
			s := &tracepb.Span{
				TraceId: binary.BigEndian.AppendUint64(make([]byte, 8), n), SpanId: binary.BigEndian.AppendUint64(nil, id), Name: name,
				StartTimeUnixNano: 1e18 + n*1e6, EndTimeUnixNano: 1e18 + n*1e6 + 5e6, Attributes: attributes,
			}
			if parent > 0 {
				s.ParentSpanId = binary.BigEndian.AppendUint64(nil, parent)
			}
			all = append(all, s)
		}
		add("wait cap.slot", 3, 2)
		add("sign", 4, 2, text("cap.class", "software"))
		add("store cap.store", 5, 2)
		add("process cap.job", 2, 1, where...)
		add("publish cap.job", 1, 0, where...)
	}
	scope := &commonpb.InstrumentationScope{Name: "github.com/capsign/cap/internal/queue"}
	return &collectorpb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Scope: scope, Spans: all}}}}}
}
