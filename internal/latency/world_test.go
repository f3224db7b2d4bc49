package latency

import (
	"encoding/binary"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/capsign/cap/capsign"
)

// dawn is when the tests' world begins.
var dawn = time.Date(2026, 11, 28, 0, 0, 0, 0, time.UTC)

// job describes one request of the tests' world. Its zero value is an express
// request of one software signature that took no time at all.
type job struct {
	n         uint64 // tells traces apart
	lane      capsign.Lane
	pool      string
	class     capsign.Class
	at        time.Duration // after dawn
	publish   time.Duration
	queued    time.Duration
	slot      time.Duration
	session   time.Duration
	provider  time.Duration
	verify    time.Duration
	audit     time.Duration
	store     time.Duration
	items     int          // calls to the provider; zero means one
	many      int64        // signatures of each; zero means one
	code      capsign.Code // of the publisher's and the sign spans
	ahead     time.Duration
	noPublish bool // the publisher records nothing
	unsigned  bool // it failed before the provider was called
}

// id returns the n-th id of so many bytes.
func id(n uint64, size int) []byte {
	b := make([]byte, size)
	binary.BigEndian.PutUint64(b[size-8:], n)
	return b
}

// text, whole and double are attributes.
func text(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

func whole(key string, value int64) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: value}}}
}

func double(key string, value float64) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: value}}}
}

// span returns a span of the job's trace.
func (j job) span(name string, number, parent uint64, start, took time.Duration, attributes ...*commonpb.KeyValue) *tracepb.Span {
	from := dawn.Add(j.at + start)
	s := &tracepb.Span{
		Name: name, TraceId: id(j.n+1, 16), SpanId: id(number, 8), Attributes: attributes,
		StartTimeUnixNano: uint64(from.UnixNano()), EndTimeUnixNano: uint64(from.Add(took).UnixNano()),
	}
	if parent != 0 {
		s.ParentSpanId = id(parent, 8)
	}
	return s
}

// spans returns all spans of the job, those of the worker in the order in which
// they end, and then the publisher's.
func (j job) spans() (worker, publisher []*tracepb.Span) {
	if j.lane == "" {
		j.lane = capsign.Express
	}
	if j.class == "" {
		j.class = capsign.ClassSoftware
	}
	if j.pool == "" {
		j.pool = "default"
	}
	where := []*commonpb.KeyValue{text("cap.pool", j.pool), text("cap.lane", string(j.lane))}
	call := []*commonpb.KeyValue{text("cap.class", string(j.class)), whole("cap.sign.count", max(j.many, 1))}
	if j.code != "" {
		call = append(call, text("error.type", string(j.code)))
	}
	begin := j.queued + j.ahead
	worker = append(worker, j.span("wait cap.slot", 3, 2, begin, j.slot))
	for i := range uint64(max(j.items, 1)) {
		if j.unsigned {
			break
		}
		worker = append(worker,
			j.span("wait cap.session", 1000+i, 10+i, begin+j.slot, j.session),
			j.span("sign", 10+i, 2, begin+j.slot, j.session+j.provider, call...),
			j.span("verify", 2000+i, 2, begin, j.verify))
	}
	worker = append(worker, j.span("audit", 4, 2, begin, j.audit), j.span("store cap.store", 5, 2, begin, j.store))
	root := uint64(1)
	if j.noPublish {
		root = 0
	} else {
		attributes := where
		if j.code != "" {
			attributes = append(attributes[:2:2], text("error.type", string(j.code)))
		}
		publisher = append(publisher, j.span("publish cap.job", 1, 0, 0, j.publish, attributes...))
	}
	worker = append(worker, j.span("process cap.job", 2, root, begin, j.slot+j.session+j.provider+j.verify+j.audit+j.store,
		append(where[:2:2], double("cap.queue.wait", (j.queued+j.ahead).Seconds()))...))
	return worker, publisher
}

// export wraps spans as a process exports them.
func export(process, scope string, spans ...*tracepb.Span) []*tracepb.ResourceSpans {
	return []*tracepb.ResourceSpans{{
		Resource:   &resourcepb.Resource{Attributes: []*commonpb.KeyValue{text("service.instance.id", process)}},
		ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: scopes + scope}, Spans: spans}},
	}}
}

// do gives a job's spans to a check, from the worker called process.
func do(c *Check, process string, jobs ...job) {
	for _, j := range jobs {
		worker, publisher := j.spans()
		c.Spans(export(process, "internal/queue", worker...))
		c.Spans(export("publisher", "capsign", publisher...))
	}
}

// repeat returns n jobs that are made alike but for their ids and, a millisecond
// apart, their time.
func repeat(n int, like job) []job {
	jobs := make([]job, n)
	for i := range jobs {
		jobs[i] = like
		jobs[i].n += uint64(i)
		jobs[i].at += time.Duration(i) * time.Millisecond
	}
	return jobs
}

// counted is a process's count of its signatures as metrics have it: so many of
// a class since start, as of at, both after dawn.
func counted(process string, how metricpb.AggregationTemporality, class capsign.Class, n uint64, start, at time.Duration) []*metricpb.ResourceMetrics {
	point := &metricpb.HistogramDataPoint{
		Attributes: []*commonpb.KeyValue{text("cap.class", string(class))}, Count: n,
		StartTimeUnixNano: uint64(dawn.Add(start).UnixNano()), TimeUnixNano: uint64(dawn.Add(at).UnixNano()),
	}
	metric := &metricpb.Metric{Name: "cap.provider.sign.duration", Data: &metricpb.Metric_Histogram{
		Histogram: &metricpb.Histogram{DataPoints: []*metricpb.HistogramDataPoint{point}, AggregationTemporality: how},
	}}
	return []*metricpb.ResourceMetrics{{
		Resource:     &resourcepb.Resource{Attributes: []*commonpb.KeyValue{text("service.instance.id", process)}},
		ScopeMetrics: []*metricpb.ScopeMetrics{{Metrics: []*metricpb.Metric{metric}}},
	}}
}

// The two ways to count.
const (
	cumulative = metricpb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	delta      = metricpb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
)

// everything returns cap's own budgets for traces that are all recorded.
func everything() Budgets {
	b := Default()
	b.Sampling = 1
	return b
}

// lineOf returns the report's line of a measure and a class.
func lineOf(t *testing.T, r Report, measure Measure, class capsign.Class) Line {
	t.Helper()
	for _, l := range r.Lines {
		if l.Measure == measure && l.Class == class && l.Pool == "" {
			return l
		}
	}
	t.Fatalf("no line %s %s", measure, class)
	return Line{}
}
