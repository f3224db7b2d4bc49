package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

// TestMain lets the test's own binary be the other half of a row.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"serve", "work", "token"}, os.Args[1]) {
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
	args := []string{"-quick", "-row", "P1,P2,P3,P4,P5,P6,P7,P8,P9,P10,baseline", "-o", report}
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

// TestEveryTargetHasItsRow holds the table to the targets that cap has: a row that
// was taken out would otherwise be a target that nobody misses.
func TestEveryTargetHasItsRow(t *testing.T) {
	with := map[string]int{} // how many rows of an id have goals
	var ids []string
	for _, r := range rows() {
		if !slices.Contains(ids, r.id) {
			ids = append(ids, r.id)
		}
		for goal := range r.goals {
			if !slices.Contains(order, goal) {
				t.Errorf("%s, %s: %q is held to a bound and not in the table", r.id, r.what, goal)
			}
		}
		if len(r.goals) > 0 {
			with[r.id]++
		}
	}
	if want := strings.Fields("P1 P2 P3 P4 P5 P6 P7 P8 P9 P10 P11 baseline"); !slices.Equal(ids, want) {
		t.Errorf("the table has the rows %v, want %v", ids, want)
	}
	for id, want := range map[string]int{"P1": 2, "P2": 2, "P3": 2, "P4": 1, "P5": 3, "P6": 8, "P7": 1, "P8": 1, "P9": 1, "P10": 5, "P11": 1} {
		if with[id] != want {
			t.Errorf("%s: %d rows are held to a bound, want %d", id, with[id], want)
		}
	}
}

func TestSecondReleaseIsNoticed(t *testing.T) {
	var w witness
	w.mu.Lock()
	for n, lane := range []capsign.Lane{capsign.Express, capsign.Express, capsign.Bulk} {
		w.sent(uint64(n), lane)
	}
	w.mu.Unlock()
	w.heard(0)
	w.heard(2)
	w.heard(2)
	if f := w.figures(5 * time.Second); f[lost] != 1 || f[doubled] != 1 || w.missing() != 1 {
		t.Errorf("%v lost, %v doubled, %d missing; want one each", f[lost], f[doubled], w.missing())
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
