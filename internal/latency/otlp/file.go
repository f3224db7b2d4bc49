package otlp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	metricsv1 "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"

	"github.com/capsign/cap/capsign"
)

// LineError is what is wrong with a line of a file. It wraps
// [capsign.BadRequest].
type LineError struct {
	// Line counts from 1; Problem says what is wrong, without quoting it.
	Line    int
	Problem string
}

// Error returns the line and its problem.
func (e *LineError) Error() string {
	return fmt.Sprintf("otlp: line %d: %s: %v", e.Line, e.Problem, capsign.BadRequest)
}

// Unwrap returns the code.
func (e *LineError) Unwrap() error { return capsign.BadRequest }

// Read gives a file to sink: a JSON object to a line, each an export of traces or
// of metrics. Others, such as logs, and empty lines are passed over. It returns a
// [*LineError] for the first line that is none of these, after which nothing is
// read, or r's own error. A file whose last line has no end is read to the last
// whole line: its writer is still at work, or was stopped.
func Read(r io.Reader, sink Sink) error {
	reader := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := readLine(reader)
		switch {
		case errors.Is(err, errLong):
			return &LineError{n, fmt.Sprintf("longer than %d MiB", maxExport>>20)}
		case err != nil && !errors.Is(err, io.EOF):
			return err
		}
		ended := err != nil
		if problem := readExport(bytes.TrimSpace(line), sink); problem != "" && !ended {
			return &LineError{n, problem}
		}
		if ended {
			return nil //nolint:nilerr // a file's end is none
		}
	}
}

// errLong is that a line is longer than an export may be.
var errLong = errors.New("line too long")

// readLine returns the next line, up to its end or, with io.EOF, the file's.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxExport {
			return nil, errLong
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

// readExport gives one line to sink, or says what is wrong with it.
func readExport(line []byte, sink Sink) (problem string) {
	switch {
	case len(line) == 0:
		return ""
	case bytes.Contains(line, []byte(`"resourceSpans"`)):
		var export tracev1.ExportTraceServiceRequest
		if fromJSON(line, &export) != nil {
			return "not an export of traces"
		}
		mendIDs(export.ResourceSpans)
		sink.Spans(export.ResourceSpans)
		return ""
	case bytes.Contains(line, []byte(`"resourceMetrics"`)):
		var export metricsv1.ExportMetricsServiceRequest
		if fromJSON(line, &export) != nil {
			return "not an export of metrics"
		}
		sink.Metrics(export.ResourceMetrics)
		return ""
	case bytes.Contains(line, []byte(`"resourceLogs"`)):
		return ""
	}
	return "not an OTLP export in JSON"
}
