package otlp

import (
	"compress/gzip"
	"io"
	"mime"
	"net/http"

	metricsv1 "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// handler serves OTLP over HTTP, in protobuf's form and in JSON's.
func handler(sink Sink) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, r *http.Request) {
		var export tracev1.ExportTraceServiceRequest
		if form := receive(w, r, &export); form != "" {
			if form == jsonForm {
				mendIDs(export.ResourceSpans)
			}
			sink.Spans(export.ResourceSpans)
			answer(w, form, new(tracev1.ExportTraceServiceResponse))
		}
	})
	mux.HandleFunc("POST /v1/metrics", func(w http.ResponseWriter, r *http.Request) {
		var export metricsv1.ExportMetricsServiceRequest
		if form := receive(w, r, &export); form != "" {
			sink.Metrics(export.ResourceMetrics)
			answer(w, form, new(metricsv1.ExportMetricsServiceResponse))
		}
	})
	return mux
}

// The two forms of an export.
const (
	protoForm = "application/x-protobuf"
	jsonForm  = "application/json"
)

// receive reads an export and returns its form. It returns "" where it has
// refused it.
func receive(w http.ResponseWriter, r *http.Request, into proto.Message) (form string) {
	form, _, _ = mime.ParseMediaType(r.Header.Get("Content-Type"))
	if form != protoForm && form != jsonForm {
		w.WriteHeader(http.StatusUnsupportedMediaType)
		return ""
	}
	data, status := body(r)
	if status != http.StatusOK {
		w.WriteHeader(status)
		return ""
	}
	read := proto.Unmarshal
	if form == jsonForm {
		read = fromJSON
	}
	if read(data, into) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return ""
	}
	return form
}

// body returns the content of a request, unpacked, or the status that refuses it.
func body(r *http.Request) ([]byte, int) {
	from := io.Reader(r.Body)
	switch r.Header.Get("Content-Encoding") {
	case "", "identity":
	case "gzip":
		unpacked, err := gzip.NewReader(from)
		if err != nil {
			return nil, http.StatusBadRequest
		}
		from = unpacked
	default:
		return nil, http.StatusUnsupportedMediaType
	}
	data, err := io.ReadAll(io.LimitReader(from, maxExport+1))
	switch {
	case err != nil:
		return nil, http.StatusBadRequest
	case len(data) > maxExport:
		return nil, http.StatusRequestEntityTooLarge
	}
	return data, http.StatusOK
}

// answer says that an export was taken, in its own form.
func answer(w http.ResponseWriter, form string, response proto.Message) {
	write := proto.Marshal
	if form == jsonForm {
		write = protojson.Marshal
	}
	data, err := write(response)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", form)
	_, _ = w.Write(data) // whoever has left needs no answer
}
