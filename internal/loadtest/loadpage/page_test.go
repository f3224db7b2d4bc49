package loadpage

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/loadtest"
)

// pool signs after so long, and refuses what comes in the third second.
type pool struct {
	began time.Time
	takes time.Duration
}

// Sign signs one message or refuses.
func (p *pool) Sign(context.Context, []byte) (capsign.Signed, error) {
	third := time.Since(p.began)/time.Second == 2
	time.Sleep(p.takes)
	if third {
		return capsign.Signed{}, fmt.Errorf("pool: %w", capsign.Throttled)
	}
	return capsign.Signed{}, nil
}

// SignAll signs or refuses all.
func (p *pool) SignAll(ctx context.Context, items iter.Seq[capsign.Item]) iter.Seq2[capsign.Signed, error] {
	return func(yield func(capsign.Signed, error) bool) {
		for item := range items {
			if !yield(p.Sign(ctx, item.Message)) {
				return
			}
		}
	}
}

// measure returns the report of a run in fake time, of names that would break a
// page which did not escape them.
func measure(t *testing.T, lanes ...loadtest.Load) loadtest.Report {
	t.Helper()
	var report loadtest.Report
	synctest.Test(t, func(t *testing.T) {
		var err error
		report, err = loadtest.Run(t.Context(), loadtest.Config{
			Signer: &pool{time.Now(), 3 * time.Millisecond}, Loads: lanes, Step: 4 * time.Second, Arrivals: loadtest.Fixed, InFlight: 8,
			Budget: []loadtest.Limit{{Percent: 95, Within: 50 * time.Millisecond}},
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	report.Setup = loadtest.ThisMachine()
	report.Setup.Pool, report.Setup.Key = "<script>alert(1)</script>", `"&'`
	return report
}

// twoLanes is a load on both lanes, of steps and a ramp.
func twoLanes() []loadtest.Load {
	return []loadtest.Load{
		{Lane: capsign.Express, Rates: []loadtest.Rate{{From: 100, To: 100}, {From: 200, To: 200}}},
		{Lane: capsign.Bulk, Pack: 4, Rates: []loadtest.Rate{{From: 100, To: 800}, {From: 800, To: 800}}},
	}
}

// render returns the page of a report.
func render(t *testing.T, report loadtest.Report) string {
	t.Helper()
	page, err := Render(report)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// A page that fetched anything would not open on a machine without a network, and
// would tell somebody that it was read.
func TestThePageRefersToNothingOutside(t *testing.T) {
	page := render(t, measure(t, twoLanes()...))
	const namespace = `xmlns="http://www.w3.org/2000/svg"` // a name that nobody fetches
	if !strings.Contains(page, namespace) {
		t.Fatal("there are no plots")
	}
	rest := strings.ReplaceAll(page, namespace, "")
	for _, reference := range []string{"://", "//", "<script", "<link", "<img", "<iframe", "<object", "src=", "href=", "url(", "@import", "@font-face", "javascript:"} {
		if strings.Contains(strings.ToLower(rest), reference) {
			t.Errorf("the page has %q", reference)
		}
	}
	if handler := regexp.MustCompile(`<[^>]* on\w+=`).FindString(rest); handler != "" {
		t.Errorf("the page has a script: %s", handler)
	}
}

func TestThePageIsWellFormed(t *testing.T) {
	page := render(t, measure(t, twoLanes()...))
	// But for its void elements, it is XML as well.
	void := regexp.MustCompile(`<(meta)([^>]*)>`)
	decoder := xml.NewDecoder(strings.NewReader(void.ReplaceAllString(strings.TrimPrefix(page, "<!DOCTYPE html>"), "<$1$2/>")))
	ids := make(map[string]int)
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		for _, attr := range element.Attr {
			if attr.Name.Local == "id" {
				ids[attr.Value]++
			}
		}
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("%d elements have the id %s", n, id)
		}
	}
	for _, reference := range regexp.MustCompile(`aria-labelledby="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		for id := range strings.FieldsSeq(reference[1]) {
			if ids[id] != 1 {
				t.Errorf("nothing has the id %s", id)
			}
		}
	}
}

func TestThePageTellsEverything(t *testing.T) {
	report := measure(t, twoLanes()...)
	page := render(t, report)
	for _, part := range []string{
		"The budget did not hold.", "Express lane", "Bulk lane", "100..800/s", "ended with throttled", "p95 ≤ 50 ms", "sent late", "∞",
		"&lt;script&gt;alert(1)&lt;/script&gt;", report.Setup.Platform, "The time series in numbers",
	} {
		if !strings.Contains(page, part) {
			t.Errorf("the page does not say %q", part)
		}
	}
	if n := strings.Count(page, "<svg"); n != 8 {
		t.Errorf("%d plots, want four for each lane", n)
	}
}

func TestWithoutLossesThereIsNoPlotOfThem(t *testing.T) {
	report := measure(t, loadtest.Load{Lane: capsign.Bulk, Rates: []loadtest.Rate{{From: 1, To: 1}}})
	report.Lanes[0].Series = report.Lanes[0].Series[:2] // before the refusals
	report.Lanes[0].Series[0].Refused = nil
	page := render(t, report)
	if !strings.Contains(page, "Nothing: each request was answered.") || strings.Count(page, "<svg") != 3 {
		t.Error("nothing was lost, and yet there is a plot of it")
	}
}

func TestAReportOfNothingIsAPage(t *testing.T) {
	for name, report := range map[string]loadtest.Report{
		"no lanes":  {},
		"a lane":    {Lanes: []loadtest.Lane{{Lane: capsign.Express}}},
		"one step":  {Lanes: []loadtest.Lane{{Lane: capsign.Express, Steps: []loadtest.Step{{}}, Series: []loadtest.Interval{{}}}}},
		"no limits": {Lanes: []loadtest.Lane{{Lane: capsign.Bulk, Pack: 1}}, Budget: []loadtest.Finding{}},
	} {
		if page, err := Render(report); err != nil || bytes.Contains(page, []byte("NaN")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHeadlines(t *testing.T) {
	finding := func(verdicts ...loadtest.Verdict) loadtest.Report {
		var report loadtest.Report
		for _, v := range verdicts {
			report.Budget = append(report.Budget, loadtest.Finding{Verdict: v})
		}
		return report
	}
	interrupted := finding(loadtest.Held)
	interrupted.Interrupted = true
	for want, report := range map[string]loadtest.Report{
		"The budget held.":         finding(loadtest.Held, loadtest.Held),
		"The budget did not hold.": finding(loadtest.Inconclusive, loadtest.Exceeded, loadtest.Held),
		"Too little was measured":  finding(loadtest.Held, loadtest.Inconclusive, loadtest.Held),
		"There was no budget":      finding(),
		"It was interrupted":       interrupted,
	} {
		if page := render(t, report); !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// Each nine of a percentile takes the same room.
func TestNines(t *testing.T) {
	for percent, want := range map[float64]float64{0: 0, 90: 1, 99: 2, 99.9: 3} {
		if got := nines(percent); math.Abs(got-want) > 1e-9 {
			t.Errorf("%g is at %g, want %g", percent, got, want)
		}
	}
}

func TestOfManyStepsSomeCurvesAreDrawn(t *testing.T) {
	var steps []loadtest.Step
	for i := range 40 {
		steps = append(steps, loadtest.Step{Seconds: float64(i)})
	}
	some := drawn(steps)
	if len(some) != maxCurves || some[0].Seconds != 0 || some[maxCurves-1].Seconds != 39 {
		t.Errorf("%d curves, from %g to %g", len(some), some[0].Seconds, some[len(some)-1].Seconds)
	}
}
