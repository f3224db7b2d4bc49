package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test's own binary be the other half of a row.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "serve" || os.Args[1] == "token") {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestQuickRunMeasuresEveryRow leaves out P11, which would compile the worker
// four times.
func TestQuickRunMeasuresEveryRow(t *testing.T) {
	report := filepath.Join(t.TempDir(), "performance.md")
	var table bytes.Buffer
	args := []string{"-quick", "-row", "P1,P2,P3,P4,P5,P6,baseline", "-o", report}
	if err := run(t.Context(), args, strings.NewReader(""), &table, t.Output()); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows() {
		if r.id == "P11" {
			continue
		}
		if !strings.Contains(table.String(), r.what) || !strings.Contains(string(written), r.what) {
			t.Errorf("%s, %s: not in the table and the report", r.id, r.what)
		}
	}
	if nonsense := regexp.MustCompile(`(?m)^.*(NaN|Inf).*$`).FindAll(written, -1); nonsense != nil {
		t.Errorf("figures that are no numbers:\n%s", bytes.Join(nonsense, []byte("\n")))
	}
}

func TestUnknownRowIsRefused(t *testing.T) {
	err := run(t.Context(), []string{"-row", "P99"}, strings.NewReader(""), io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "P99") {
		t.Errorf("error %v, want one that names the row", err)
	}
}

func TestMissedTargetHasAPlaceForItsReason(t *testing.T) {
	slow := &result{
		row:     row{id: "P0", what: "a row without a note", goals: goals{ofRaw: 0.5, cpu: 0.1}},
		samples: []figures{{ofRaw: 0.4, cpu: 0.05}, {ofRaw: 0.6, cpu: 0.05}, {ofRaw: 0.3, cpu: 0.05}},
	}
	file := filepath.Join(t.TempDir(), "performance.md")
	if err := writeReport(file, machine{}, []*result{slow}); err != nil {
		t.Fatal(err)
	}
	report, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| of raw | 0.400 | ≥ 0.500 | MISSED |",
		"| CPU-ms/signature | 0.050 | ≤ 0.100 | met |",
		"tests/bench/notes/P0.md",
	} {
		if !strings.Contains(string(report), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
}

func TestFastestModuleIsTheYardstick(t *testing.T) {
	f := compare(map[string][]figures{
		"1": {{perSecond: 100, cpu: 8}}, "2": {{perSecond: 200, cpu: 10}}, "4": {{perSecond: 150, cpu: 12}},
		provided: {{perSecond: 180, cpu: 20}, {perSecond: 190, cpu: 20}, {perSecond: 20, cpu: 20}},
		verified: {{perSecond: 50, cpu: 30}},
	})
	for name, want := range (figures{ofModule: 0.9, ofModuleVerified: 0.25, ofModuleCPU: 0.5, moduleSessions: 2}) {
		if f[name] != want {
			t.Errorf("%s is %v, want %v", name, f[name], want)
		}
	}
}

func TestSharesAreHeldToLowerBounds(t *testing.T) {
	for f, low := range map[figure]bool{ofModule: false, ofRaw: false, p95Added: true, p99: true} {
		if f.met(0.5, 0.9) != low || f.met(0.95, 0.9) == low {
			t.Errorf("%s: 0.5 and 0.95 against a bound of 0.9 come out wrong", f)
		}
	}
}

func TestEnvironmentIsRestored(t *testing.T) {
	t.Setenv("CAP_BENCH_SET", "before")
	restore := setenv(map[string]string{"CAP_BENCH_SET": "after", "CAP_BENCH_UNSET": "after"})
	if got := os.Getenv("CAP_BENCH_SET") + os.Getenv("CAP_BENCH_UNSET"); got != "afterafter" {
		t.Errorf("the variables are %q", got)
	}
	restore()
	if _, there := os.LookupEnv("CAP_BENCH_UNSET"); there || os.Getenv("CAP_BENCH_SET") != "before" {
		t.Error("the variables stay set")
	}
}

func TestMedian(t *testing.T) {
	for want, values := range map[float64][]float64{2: {3, 1, 2}, 2.5: {4, 1, 2, 3}, 7: {7}} {
		if got := median(values); got != want {
			t.Errorf("median of %v is %v, want %v", values, got, want)
		}
	}
}

func TestArrivalsKeepTheirRate(t *testing.T) {
	n, last := 0, time.Time{}
	for at := range poisson(20_000, 100*time.Millisecond) {
		if at.Before(last) || time.Until(at) > 0 {
			t.Fatalf("arrival %d comes before the last one, or before its time", n)
		}
		n, last = n+1, at
	}
	if n < 1700 || n > 2300 {
		t.Errorf("%d arrivals, want about 2000", n)
	}
}
