package loadtest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
)

func TestBudgetsAreRead(t *testing.T) {
	for text, want := range map[string][]Limit{
		"p95=50ms":                 {{Percent: 95, Within: 50 * time.Millisecond}},
		"p95=50ms, p99.9=1s":       {{Percent: 95, Within: 50 * time.Millisecond}, {Percent: 99.9, Within: time.Second}},
		"bulk:max=1m30s":           {{Lane: capsign.Bulk, Percent: 100, Within: 90 * time.Second}},
		"express:p50=1ms,p99=20ms": {{capsign.Express, 50, time.Millisecond}, {capsign.Express, 99, 20 * time.Millisecond}},
	} {
		if got, err := ParseBudget(text); err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "p95", "p95=", "p95=50", "p0=1s", "p100=1s", "p-1=1s", "p95=-1s", "p95=0s", "p95=2h", "p95=1s,", "slow:p95=1s",
		":p95=1s", "95=1s", "mean=1s", "p95=50ms p99=1s", "pNaN=1s", "p1e1=1s",
	} {
		if got, err := ParseBudget(text); !errors.Is(err, capsign.BadRequest) || got != nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestRatesAreRead(t *testing.T) {
	for text, want := range map[string][]Rate{
		"200":              {{200, 200}},
		"0.5/s":            {{0.5, 0.5}},
		"100,200/s, 400":   {{100, 100}, {200, 200}, {400, 400}},
		"10..500/s,500..1": {{10, 500}, {500, 1}},
		"1000000":          {{MaxRate, MaxRate}},
	} {
		if got, err := ParseRates(text); err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", ",", "0", "-1", "1000001", "100,", "fast", "1e3", "0x10", "NaN", "1..", "..1", "1..2..3", "1/m", "100 200", "0..5",
		strings.Repeat("1,", maxRates) + "1",
	} {
		if got, err := ParseRates(text); !errors.Is(err, capsign.BadRequest) || got != nil {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func FuzzRatesAndBudgets(f *testing.F) {
	for _, text := range []string{"200", "1..2/s,3", "p95=50ms,max=1s", "bulk:p99.9=1m0.5s", "express:", "p=", "..", "0.001"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if rates, err := ParseRates(text); err == nil {
			var again []string
			for _, rate := range rates {
				if rate.check() != nil {
					t.Errorf("%q: the rate %s is out of range", text, rate)
				}
				again = append(again, rate.String())
			}
			if same, err := ParseRates(strings.Join(again, ",")); err != nil || cmp.Diff(rates, same) != "" {
				t.Errorf("%q: written as %q it is read as %v, %v", text, again, same, err)
			}
		}
		limits, err := ParseBudget(text)
		if err != nil {
			return
		}
		for _, limit := range limits {
			if limit.Percent <= 0 || limit.Percent > 100 || limit.Within <= 0 || limit.needs() < 1 {
				t.Errorf("%q: the limit %s is out of range", text, limit)
			}
			if same, err := ParseBudget(limit.String()); err != nil || cmp.Diff([]Limit{limit}, same) != "" {
				t.Errorf("%q: written as %q it is read as %v, %v", text, limit, same, err)
			}
		}
	})
}

// stepOf returns a step of fast requests, which took 1 ms, slow ones, which took
// 1 s, and some that were never answered.
func stepOf(fast, slow, never int64) Step {
	t := newTally(3)
	t.due = fast + slow + never
	for range fast {
		t.answer(time.Millisecond)
	}
	for range slow {
		t.answer(time.Second)
	}
	return newStep(t, Rate{1, 1}, 1, time.Second)
}

func TestVerdicts(t *testing.T) {
	p99 := Limit{Percent: 99, Within: 200 * time.Millisecond}
	for name, tc := range map[string]struct {
		limit Limit
		step  Step
		want  Verdict
	}{
		"all fast":                       {p99, stepOf(1000, 0, 0), Held},
		"as many slow ones as may be":    {p99, stepOf(990, 10, 0), Held},
		"one more":                       {p99, stepOf(989, 11, 0), Exceeded},
		"as many unanswered as may be":   {p99, stepOf(990, 0, 10), Held},
		"one more unanswered":            {p99, stepOf(989, 0, 11), Exceeded},
		"too few":                        {p99, stepOf(999, 0, 0), Inconclusive},
		"too few, some slow":             {p99, stepOf(500, 10, 0), Inconclusive},
		"too few, but too slow anyway":   {p99, stepOf(500, 6, 5), Exceeded},
		"none":                           {p99, stepOf(0, 0, 0), Inconclusive},
		"few, all slow":                  {p99, stepOf(0, 10, 0), Inconclusive},
		"none answered":                  {p99, stepOf(0, 0, 2000), Exceeded},
		"p95 needs 200":                  {Limit{Percent: 95, Within: time.Second}, stepOf(200, 0, 0), Held},
		"p95 of 199":                     {Limit{Percent: 95, Within: time.Second}, stepOf(199, 0, 0), Inconclusive},
		"the slowest one":                {Limit{Percent: 100, Within: 2 * time.Second}, stepOf(1, 1, 0), Held},
		"the slowest one is slower":      {Limit{Percent: 100, Within: 500 * time.Millisecond}, stepOf(1000, 1, 0), Exceeded},
		"the slowest one is no answer":   {Limit{Percent: 100, Within: 2 * time.Second}, stepOf(1000, 0, 1), Exceeded},
		"the slowest of none says a lot": {Limit{Percent: 100, Within: 2 * time.Second}, stepOf(0, 0, 0), Inconclusive},
	} {
		if got := tc.limit.verdict(tc.step); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestBudgetsAreForALaneOrForAll(t *testing.T) {
	limits := []Limit{{capsign.Express, 50, time.Second}, {"", 90, time.Second}, {capsign.Bulk, 95, time.Second}}
	var names []string
	for _, finding := range judge(limits, capsign.Bulk, stepOf(1000, 0, 0)) {
		names = append(names, finding.Limit)
	}
	if diff := cmp.Diff([]string{"p90", "p95"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestTheWorstFindingDecides(t *testing.T) {
	for want, verdicts := range map[capsign.Code][]Verdict{
		"":                         {Held, Held},
		capsign.BudgetInconclusive: {Held, Inconclusive, Held},
		capsign.BudgetExceeded:     {Inconclusive, Exceeded, Held},
	} {
		var report Report
		for _, verdict := range verdicts {
			report.Budget = append(report.Budget, Finding{Verdict: verdict})
		}
		err := report.Judge()
		if want == "" && err != nil || want != "" && !errors.Is(err, want) {
			t.Errorf("%v: %v", verdicts, err)
		}
	}
}

// A percentile is the time of one of the requests, counted from the fast end.
func TestPercentiles(t *testing.T) {
	tally := newTally(3)
	for i := range int64(100) {
		tally.due++
		tally.answer(time.Duration(i+1) * time.Millisecond)
	}
	for percent, want := range map[float64]float64{0: 1, 1: 1, 50: 50, 99: 99, 99.9: 100, 100: 100} {
		if got := float64(tally.percentile(percent)); got < want || got > want*1.001 {
			t.Errorf("p%g = %g ms, want %g", percent, got, want)
		}
	}
	if tally.due += 25; tally.percentile(80) == 0 || tally.percentile(80.1) != 0 {
		t.Error("20 in 100 were never answered: there is a p80, and no p81")
	}
}
