package otlp

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/capsign/cap/capsign"
)

// metricsLine is an export of one metric.
const metricsLine = `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","histogram":{"aggregationTemporality":2,"dataPoints":` +
	`[{"count":"3","startTimeUnixNano":"1","timeUnixNano":"2"}]}}]}]}]}`

func TestAFileOfTheCollectorsIsRead(t *testing.T) {
	sink := new(kept)
	file := line + "\r\n\n" + metricsLine + "\n" + `{"resourceLogs":[{}]}` + "\n"
	if err := Read(iotest.OneByteReader(strings.NewReader(file)), sink); err != nil {
		t.Fatal(err)
	}
	mustHoldLine(t, sink)
	if len(sink.metrics) != 1 || sink.metrics[0].GetHistogram().DataPoints[0].Count != 3 {
		t.Errorf("%v", sink.metrics)
	}
}

func TestALastLineWithoutAnEnd(t *testing.T) {
	whole, torn := new(kept), new(kept)
	if err := Read(strings.NewReader(line), whole); err != nil {
		t.Error(err)
	}
	mustHoldLine(t, whole)
	if err := Read(strings.NewReader(line+"\n"+line[:200]), torn); err != nil {
		t.Error(err)
	}
	mustHoldLine(t, torn)
}

func TestWhatIsNoExportIsSaidWithItsLine(t *testing.T) {
	for _, test := range []struct{ name, text, problem string }{
		{"text", "hunter2\n", "not an OTLP export in JSON"},
		{"other JSON", `{"password":"hunter2"}` + "\n", "not an OTLP export in JSON"},
		{"torn in the middle", line[:200] + "\n" + line + "\n", "not an export of traces"},
		{"spans of a wrong shape", `{"resourceSpans":{"hunter2":1}}` + "\n", "not an export of traces"},
		{"metrics of a wrong shape", `{"resourceMetrics":7}` + "\n", "not an export of metrics"},
		{"endless line", strings.Repeat(" ", maxExport+1) + "\n", "longer than 16 MiB"},
	} {
		sink := new(kept)
		err := Read(strings.NewReader(line+"\n"+test.text), sink)
		wrong, ok := errors.AsType[*LineError](err)
		if !ok || wrong.Line != 2 || wrong.Problem != test.problem || !errors.Is(err, capsign.BadRequest) {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: it quotes the file: %v", test.name, err)
		}
		mustHoldLine(t, sink)
	}
}

func TestAFileThatCannotBeReadToItsEnd(t *testing.T) {
	broken := iotest.ErrReader(io.ErrClosedPipe)
	if err := Read(io.MultiReader(strings.NewReader(line+"\n"), broken), new(kept)); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

func TestIDsThatAreNoneAreNoIDs(t *testing.T) {
	sink := new(kept)
	if err := Read(strings.NewReader(strings.Replace(line, "EEE19B7EC3C1B173", "ZZZZZZZZZZZZZZZZ", 1)+"\n"), sink); err != nil {
		t.Fatal(err)
	}
	sink.mustHold(t, "sign", "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174", "")
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(line + "\n" + metricsLine + "\n"))
	f.Add([]byte(line[:200]))
	f.Add([]byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"=="}]}]}]}` + "\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		sink := new(kept)
		err := Read(strings.NewReader(string(file)), sink)
		if _, ok := errors.AsType[*LineError](err); err != nil && !ok {
			t.Errorf("%v", err)
		}
		for _, s := range sink.spans {
			if len(s.GetName()) > len(file) {
				t.Errorf("%v", s)
			}
		}
	})
}
