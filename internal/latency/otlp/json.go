package otlp

import (
	"encoding/base64"
	"encoding/hex"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// lenient reads what newer exporters may add.
var lenient = protojson.UnmarshalOptions{DiscardUnknown: true}

// fromJSON reads an export in OTLP's JSON form.
func fromJSON(data []byte, into proto.Message) error { return lenient.Unmarshal(data, into) }

// mendIDs turns the ids of spans that were read as JSON into what they say. OTLP
// writes them in hexadecimal, where protobuf's JSON has base64: what was decoded
// as that is encoded again. An id that was not hexadecimal becomes none.
func mendIDs(export []*tracepb.ResourceSpans) {
	for _, from := range export {
		for _, scope := range from.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				span.TraceId, span.SpanId, span.ParentSpanId = mendID(span.TraceId), mendID(span.SpanId), mendID(span.ParentSpanId)
			}
		}
	}
}

// mendID returns the id that a text in hexadecimal was decoded from.
func mendID(id []byte) []byte {
	mended, err := hex.DecodeString(base64.StdEncoding.EncodeToString(id))
	if err != nil {
		return nil
	}
	return mended
}
