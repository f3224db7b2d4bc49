package cli_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// traces FILE N MS COUNTED writes the traces of N express requests, each of whose
// signatures took so many milliseconds, and the worker's count of them.
func traces(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: traces FILE N MS COUNTED")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	took, err := strconv.Atoi(args[2])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(tracesFile(n, took, args[3])), 0o600))
}

// tracesFile returns such a file.
func tracesFile(n, milliseconds int, counted string) string {
	var file strings.Builder
	for i := range n {
		file.WriteString(tracesOf(i+1, milliseconds))
	}
	const resource = `{"resource":{"attributes":[{"key":"service.instance.id","value":{"stringValue":"w1"}}]}`
	fmt.Fprintf(&file, `{"resourceMetrics":[%s,"scopeMetrics":[{"metrics":[{"name":"cap.provider.sign.duration","histogram":{"aggregationTemporality":2,`+
		`"dataPoints":[{"attributes":[%s],"count":%q,"startTimeUnixNano":"1","timeUnixNano":"1800000000000000000"}]}}]}]}]}`+"\n",
		resource, attribute("cap.class", "software"), counted)
	return file.String()
}

// attribute returns an attribute as OTLP's JSON has it.
func attribute(key, value string) string {
	return fmt.Sprintf(`{"key":%q,"value":{"stringValue":%q}}`, key, value)
}

// tracesOf returns the n-th request's spans, a line for each process.
func tracesOf(n, milliseconds int) string {
	where := attribute("cap.pool", "default") + "," + attribute("cap.lane", "express")
	span := func(name string, id, parent int, took int, attributes string) string {
		const start = 1764288000000
		from := ""
		if parent > 0 {
			from = fmt.Sprintf(`"parentSpanId":"%016x",`, parent)
		}
		return fmt.Sprintf(`{"traceId":"%032x","spanId":"%016x",%s"name":%q,"startTimeUnixNano":"%d000000","endTimeUnixNano":"%d000000","attributes":[%s]}`,
			n, id, from, name, start+n, start+n+took, attributes)
	}
	export := func(process, scope string, spans ...string) string {
		return fmt.Sprintf(`{"resourceSpans":[{"resource":{"attributes":[%s]},"scopeSpans":[{"scope":{"name":"github.com/capsign/cap/%s"},"spans":[%s]}]}]}`+"\n",
			attribute("service.instance.id", process), scope, strings.Join(spans, ","))
	}
	return export("w1", "internal/queue",
		span("wait cap.slot", 3, 2, 0, ""),
		span("sign", 4, 2, milliseconds, attribute("cap.class", "software")),
		span("store cap.store", 5, 2, 1, ""),
		span("process cap.job", 2, 1, milliseconds+1, where)) +
		export("publisher", "capsign", span("publish cap.job", 1, 0, milliseconds+2, where))
}

// TestTheLatencyPageWorks runs the command that docs/latency.md shows, on files as
// it describes them.
func TestTheLatencyPageWorks(t *testing.T) {
	page, err := os.ReadFile("../../docs/latency.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := shownCommands(string(page))
	if len(commands) != 1 {
		t.Fatalf("%d commands", len(commands))
	}
	t.Chdir(t.TempDir())
	if err := errors.Join(
		os.WriteFile("spans.jsonl", []byte(tracesFile(1200, 8, "1200")), 0o600),
		os.WriteFile("budgets.yaml", []byte("sampling: 1\n"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	args := strings.Fields(commands[0].command)[1:]
	out, errs, status := capRun(t.Context(), nil, append(args, "--slowest", "1")...)
	if status != 0 || errs != "" {
		t.Errorf("status %d: %s", status, errs)
	}
	if diff := cmp.Diff(commands[0].output, out); diff != "" {
		t.Errorf("the page shows something else: %s", diff)
	}
}

func TestTheLatencyPageNamesWhatThereIs(t *testing.T) {
	page, err := os.ReadFile("../../docs/latency.md")
	if err != nil {
		t.Fatal(err)
	}
	help, _, _ := capRun(t.Context(), nil, "trace", "check", "--help")
	flags := regexp.MustCompile(`--[a-z][a-z-]*[a-z]`).FindAllString(string(page), -1)
	for _, flag := range flags {
		if !strings.Contains(help, flag) {
			t.Errorf("there is no flag %s", flag)
		}
	}
	budgets, err := os.ReadFile("../../config/budgets.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"sampling", "min_samples", "max_failed"} {
		if !strings.Contains(string(page), "`"+key+"`") || !strings.Contains(string(budgets), key+":") {
			t.Errorf("%s is not explained", key)
		}
	}
	if len(flags) < 10 {
		t.Errorf("%d flags", len(flags))
	}
}
