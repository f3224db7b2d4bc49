package tests

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/latency"
)

// generous are budgets that any machine keeps, however busy: a healthy run is
// judged by them, so that what the tests find is the checker's doing, not the
// machine's. Faults are judged by cap's own budgets, which a slow machine can
// only exceed by more.
const generous = "sampling: 1\nsign: {software: {p95: 30s, p99: 1m}, token: {p95: 30s, p99: 1m}}\n" +
	"express: {software: {p95: 1m, p99: 2m}, token: {p95: 1m, p99: 2m}}\n"

// strict are cap's own budgets, for traces that are all recorded.
const strict = "sampling: 1\n"

// trial is a site whose processes, and the test as its publisher, send spans to a
// running "cap trace check".
type trial struct {
	*site
	check     *exec.Cmd
	report    *bytes.Buffer
	publisher *sdktrace.TracerProvider
}

// newTrial starts the check and a broker.
func newTrial(t *testing.T, budgets string) *trial {
	t.Helper()
	r := &trial{site: newSite(t), report: new(bytes.Buffer)}
	path := filepath.Join(r.dir, "budgets.yaml")
	if err := os.WriteFile(path, []byte(budgets), 0o600); err != nil {
		t.Fatal(err)
	}
	r.check = exec.Command(filepath.Join(commands(t), "cap"), "trace", "check", "--json", "--budget", path, "--listen-grpc", "127.0.0.1:0")
	r.check.Stdout = r.report
	said, err := r.check.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.check.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.check.Process.Kill() })
	line, err := bufio.NewReader(said).ReadString('\n')
	_, address, found := strings.Cut(strings.TrimSpace(line), " at ")
	if err != nil || !found {
		t.Fatalf("cap trace check says %q: %v", line, err)
	}
	r.env = []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + address, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_TRACES_SAMPLER=always_on",
		// No span may be lost for want of time, whatever else the machine does.
		"OTEL_BSP_MAX_QUEUE_SIZE=200000", "OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_METRIC_EXPORT_INTERVAL=500",
	}
	r.publish(address)
	r.startServer()
	return r
}

// publish has the test's own spans sent to the check.
func (r *trial) publish(address string) {
	r.t.Helper()
	exporter, err := otlptracegrpc.New(r.t.Context(), otlptracegrpc.WithInsecure(), otlptracegrpc.WithEndpoint(address))
	if err != nil {
		r.t.Fatal(err)
	}
	r.publisher = sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter, sdktrace.WithMaxQueueSize(200_000)))
	otel.SetTracerProvider(r.publisher)
	r.t.Cleanup(func() { otel.SetTracerProvider(noop.NewTracerProvider()) })
}

// sign signs n messages on the express lane, one every so often whether or not
// those before are signed, and calls halfway in the middle.
func (r *trial) sign(n int, every time.Duration, halfway func()) {
	r.t.Helper()
	client, err := capsign.NewClient(r.t.Context(), r.connect(), capsign.ClientConfig{Timeout: 2 * time.Minute})
	if err != nil {
		r.t.Fatal(err)
	}
	defer client.Close()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var waiting sync.WaitGroup
	for i := range n {
		if i == n/2 && halfway != nil {
			waiting.Go(halfway)
		}
		waiting.Go(func() {
			if _, err := client.Sign(r.t.Context(), fmt.Appendf(nil, "message %d", i)); err != nil {
				r.t.Errorf("message %d: %v", i, err)
			}
		})
		<-ticker.C
	}
	waiting.Wait()
}

// verdict ends the worker and then the check, which so has everything, and
// returns its report and exit status.
func (r *trial) verdict(worker string) (report latency.Report, status int) {
	r.t.Helper()
	if err := r.processes[worker].Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	if status := r.exit(worker); status != 0 {
		r.t.Errorf("the worker ends with %d", status)
	}
	if err := r.publisher.Shutdown(r.t.Context()); err != nil {
		r.t.Error(err)
	}
	if err := r.check.Process.Signal(syscall.SIGINT); err != nil {
		r.t.Fatal(err)
	}
	_ = r.check.Wait() // the status says it all
	if err := json.Unmarshal(r.report.Bytes(), &report); err != nil {
		r.t.Fatalf("%v: %s", err, r.report)
	}
	if r.t.Failed() {
		r.t.Logf("\n%s", report.Text())
	}
	return report, r.check.ProcessState.ExitCode()
}

// mustBe says that the check came to a verdict, with its exit status.
func (r *trial) mustBe(want latency.Verdict, worker string) latency.Report { //nolint:unparam // a token's is another
	r.t.Helper()
	report, status := r.verdict(worker)
	statuses := map[latency.Verdict]int{latency.Held: 0, latency.Exceeded: 1, latency.Inconclusive: 6}
	if report.Verdict != want || status != statuses[want] {
		r.t.Errorf("%s, exit status %d; want %s\n%s", report.Verdict, status, want, report.Text())
	}
	return report
}

func TestBudgetsHoldOnAHealthyRun(t *testing.T) {
	r := newTrial(t, generous)
	r.startWorker("a")
	r.sign(1100, time.Millisecond, nil)
	report := r.mustBe(latency.Held, "a")
	if len(report.Lines) != 4 || report.Lines[0].Samples < 1100 || report.Lines[2].Samples != 1100 {
		t.Errorf("lines %+v", report.Lines)
	}
	if len(report.Coverage) != 1 || report.Coverage[0].Signatures < 1100 || report.Coverage[0].Traced != report.Coverage[0].Signatures {
		t.Errorf("coverage %+v", report.Coverage)
	}
	seen := map[latency.Segment]bool{}
	for _, p := range report.Splits[0].Parts {
		seen[p.Segment] = p.Samples >= 1100
	}
	for _, segment := range []latency.Segment{latency.QueueWait, latency.SessionWait, latency.ProviderRun, latency.Audit, latency.Store} {
		if !seen[segment] {
			t.Errorf("not all requests have the segment %q:\n%s", segment, report.Text())
		}
	}
}

func TestAStallExceedsTheBudget(t *testing.T) {
	const stall = 400 * time.Millisecond
	r := newTrial(t, strict)
	r.startWorker("a")
	r.sign(1100, 2*time.Millisecond, func() {
		worker := r.processes["a"].Process
		if err := worker.Signal(syscall.SIGSTOP); err != nil {
			t.Error(err)
		}
		<-time.After(stall)
		if err := worker.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	})
	report := r.mustBe(latency.Exceeded, "a")
	if slowest := report.Slowest[0]; slowest.Seconds < 0.3 || len(slowest.Trace) != 32 {
		t.Errorf("the slowest is %+v", slowest)
	}
}

func TestDroppedSpansAreNoticed(t *testing.T) {
	r := newTrial(t, generous)
	// The worker's spans wait for up to a second in a queue that holds sixteen.
	r.env = append(r.env, "OTEL_BSP_MAX_QUEUE_SIZE=16", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=16", "OTEL_BSP_SCHEDULE_DELAY=1000")
	r.startWorker("a")
	r.sign(1100, time.Millisecond, nil)
	report := r.mustBe(latency.Inconclusive, "a")
	if len(report.Coverage) != 1 || report.Coverage[0].Coverage >= 0.95 || !strings.Contains(report.Coverage[0].Doubt, "spans are missing") {
		t.Errorf("coverage %+v", report.Coverage)
	}
}

func TestTooFewSamplesProveNothing(t *testing.T) {
	r := newTrial(t, generous)
	r.startWorker("a")
	r.sign(200, time.Millisecond, nil)
	report := r.mustBe(latency.Inconclusive, "a")
	if !strings.Contains(report.Lines[2].Why, "200 samples, and 1000 are needed") {
		t.Errorf("%+v", report.Lines)
	}
}
