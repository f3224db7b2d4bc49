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

// TestQuickRunMeasuresEveryRow leaves out P11, which would compile the worker.
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
