package latency

import (
	"strings"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/capsign/cap/capsign"
)

// scopes begins the names of the scopes that cap's own spans have.
const scopes = "github.com/capsign/cap/"

// kind is what a span is about.
type kind uint8

// The kinds of spans, by their names.
const (
	publishSpan kind = iota + 1 // a request, as its publisher sees it
	processSpan                 // a delivery of it, in the worker
	slotSpan                    // in which it waits for a slot
	signSpan                    // one call to the provider
	sessionSpan                 // in which that waits for a session
	verifySpan                  // the check of one signature
	auditSpan                   // the record of the decision
	storeSpan                   // the result's way into the store
)

// kinds finds the kind of a span's name.
var kinds = map[string]kind{
	"publish cap.job":  publishSpan,
	"process cap.job":  processSpan,
	"wait cap.slot":    slotSpan,
	"sign":             signSpan,
	"wait cap.session": sessionSpan,
	"verify":           verifySpan,
	"audit":            auditSpan,
	"store cap.store":  storeSpan,
}

// traceID and spanID are OpenTelemetry's.
type (
	traceID [16]byte
	spanID  [8]byte
)

// span is what is kept of a span until its trace is whole.
type span struct {
	kind       kind
	id, parent spanID
	start, end int64 // nanoseconds since 1970, of its process's clock
	pool       string
	lane       capsign.Lane
	class      capsign.Class
	code       capsign.Code   // why it failed; empty: it did not
	queued     *time.Duration // cap.queue.wait
	many       uint64         // signatures of one call to the provider; 1 of all else
}

// took returns how long the span lasted; a clock that was set back in it gives
// nothing.
func (s span) took() time.Duration { return max(0, time.Duration(s.end-s.start)) }

// isRoot reports whether the span begins its trace.
func (s span) isRoot() bool { return s.parent == spanID{} }

// readSpan returns what matters of one of cap's own spans, and false for others.
func readSpan(scope string, raw *tracepb.Span) (traceID, span, bool) {
	kind, known := kinds[raw.GetName()]
	if !known || !strings.HasPrefix(scope, scopes) || len(raw.GetTraceId()) != 16 || len(raw.GetSpanId()) != 8 {
		return traceID{}, span{}, false
	}
	s := span{
		kind: kind, id: spanID(raw.GetSpanId()), many: 1,
		start: int64(raw.GetStartTimeUnixNano()), end: int64(raw.GetEndTimeUnixNano()), //nolint:gosec // until 2262
	}
	if len(raw.GetParentSpanId()) == len(s.parent) {
		s.parent = spanID(raw.GetParentSpanId())
	}
	for _, attribute := range raw.GetAttributes() {
		s.read(attribute)
	}
	return traceID(raw.GetTraceId()), s, true
}

// read takes one attribute over, if it matters.
func (s *span) read(attribute *commonpb.KeyValue) {
	value := attribute.GetValue()
	switch attribute.GetKey() {
	case "cap.pool":
		s.pool = strings.Clone(value.GetStringValue())
	case "cap.lane":
		s.lane = laneOf(value.GetStringValue())
	case "cap.class":
		s.class = classOf(value.GetStringValue())
	case "error.type":
		s.code = codeOf(value.GetStringValue())
	case "cap.sign.count":
		s.many = uint64(min(max(value.GetIntValue(), 1), capsign.MaxItems))
	case "cap.queue.wait":
		s.queued = new(time.Duration(value.GetDoubleValue() * float64(time.Second)))
	}
}

// laneOf returns the lane of that name, or none.
func laneOf(name string) capsign.Lane {
	for _, lane := range []capsign.Lane{capsign.Express, capsign.Bulk} {
		if name == string(lane) {
			return lane
		}
	}
	return ""
}

// classOf returns the class of that name, or none.
func classOf(name string) capsign.Class {
	for _, class := range classes {
		if name == string(class) {
			return class
		}
	}
	return ""
}

// codeOf returns the code of that name; an error that has none is a bug.
func codeOf(name string) capsign.Code { return capsign.CodeOf(capsign.Code(name)) }

// identity tells processes apart: by their service.instance.id or, where they
// have none, by all that they say of themselves.
func identity(resource *resourcepb.Resource) string {
	for _, attribute := range resource.GetAttributes() {
		if attribute.GetKey() == "service.instance.id" {
			return attribute.GetValue().GetStringValue()
		}
	}
	return attributesKey(resource.GetAttributes())
}
