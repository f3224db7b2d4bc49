package latency

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
)

// All faults of a file come at once, with their places.
func ExampleParse() {
	_, err := Parse([]byte(`
sampling: 2
min_sample: 500
sign:
  software: {p95: 50ms, p99: 20ms}
  hsm: {p95: 50ms}
pools:
  archive: {sign: {p95: fast}}
`))
	fmt.Println(err)
	fmt.Println(errors.Is(err, capsign.ConfigInvalid))
	// Output:
	// config: 5 faults: config_invalid
	//   line 2, column 1: sampling: must be more than 0 and at most 1
	//   line 3, column 1: min_sample: unknown key; did you mean min_samples?
	//   line 5, column 25: sign.software.p99: must not be less than p95
	//   line 6, column 3: sign.hsm: unknown key
	//   line 8, column 20: pools.archive.sign.p95: must be a duration such as 500ms, 30s or 24h
	// true
}

func TestTheShippedFileIsTheDefault(t *testing.T) {
	budgets, err := Load("../../config/budgets.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), budgets); diff != "" {
		t.Error(diff)
	}
}

// What the shipped file has as a comment can be used as it is.
func TestTheShippedFilesPoolsLoad(t *testing.T) {
	data, err := os.ReadFile("../../config/budgets.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, pools, found := strings.Cut(string(data), "# pools:\n")
	if !found {
		t.Fatal("no pools")
	}
	budgets, err := Parse([]byte("pools:\n" + strings.ReplaceAll(pools, "# ", "")))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Pool{"archive": {
		Sign: Limits{100 * time.Millisecond, 500 * time.Millisecond}, Express: Limits{P95: 150 * time.Millisecond},
	}}
	if diff := cmp.Diff(want, budgets.Pools); diff != "" {
		t.Error(diff)
	}
}

func TestASectionReplacesItsDefaultWhole(t *testing.T) {
	budgets, err := Parse([]byte("sampling: 1\nsign:\n  token: {p95: 80ms}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Sampling, want.Sign = 1, Classes{Token: Limits{P95: 80 * time.Millisecond}}
	if diff := cmp.Diff(want, budgets); diff != "" {
		t.Error(diff)
	}
}

func TestBudgetsOutOfRangeAreRefused(t *testing.T) {
	for _, text := range []string{
		"sampling: 0", "sampling: 1.1", "sampling: 1e-2", "sampling: -0.5", "min_samples: 99", "min_samples: 1.5", "min_coverage: 0.4",
		"min_coverage: 1.01", "max_failed: 2", "sign: {cloud: {p95: 2h}}", "express: {cloud: {p99: -1s}}", "sign: [software]",
		"pools: [a]", "pools: {a b: {sign: {p95: 1s}}}", "pools: {a: {sign: {p95: 1s}}, a: {sign: {p95: 1s}}}", "pools: {a: {verify: {p95: 1s}}}", "",
	} {
		if budgets, err := Parse([]byte(text)); !errors.Is(err, capsign.ConfigInvalid) || !cmp.Equal(budgets, Budgets{}) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzBudgets(f *testing.F) {
	data, err := os.ReadFile("../../config/budgets.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("pools: {a: {sign: {p95: 1s}}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		budgets, err := Parse(data)
		if err != nil && !errors.Is(err, capsign.ConfigInvalid) {
			t.Errorf("%v", err)
		}
		if err == nil && len(budgets.faults()) > 0 {
			t.Errorf("accepted: %v", budgets.faults())
		}
	})
}
