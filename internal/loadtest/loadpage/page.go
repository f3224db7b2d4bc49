// Package loadpage makes a page of a load test's report: one file that opens
// without a network and needs no script.
package loadpage

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/chart"
	"github.com/capsign/cap/internal/loadtest"
)

//go:embed page.html.tmpl
var source string

// page is the template of the whole page.
var page = template.Must(template.New("page").Parse(source))

// view is what the template is filled with.
type view struct {
	loadtest.Report
	Style   template.CSS
	Verdict loadtest.Verdict // of the whole budget; empty without one
	Lanes   []lane
}

// lane is a lane with its plots.
type lane struct {
	loadtest.Lane
	Latency, Curve, Throughput template.HTML
	Lost                       template.HTML // empty where nothing was
	Columns                    []float64     // percentiles of the table beside the curve
	Rows                       []curveRow
}

// Render returns the page of a report. The error wraps [capsign.Internal].
func Render(report loadtest.Report) ([]byte, error) {
	v := view{Report: report, Style: template.CSS(chart.Style), Verdict: verdict(report)}
	for i, l := range report.Lanes {
		v.Lanes = append(v.Lanes, lane{
			Lane: l, Latency: inline(latencyChart(report, i)), Curve: inline(curveChart(report, i)),
			Throughput: inline(throughputChart(report, i)), Lost: lost(report, i),
			Columns: curveColumns, Rows: curveRows(l),
		})
	}
	var out bytes.Buffer
	if err := page.Execute(&out, v); err != nil {
		return nil, fmt.Errorf("loadpage: render: %w", capsign.Internal)
	}
	return out.Bytes(), nil
}

// inline returns a plot as a part of the page.
func inline(c chart.Chart) template.HTML {
	return template.HTML(c.SVG()) // the plot escapes its texts
}

// lost returns the plot of what was not answered, or nothing where all was.
func lost(report loadtest.Report, lane int) template.HTML {
	c := lostChart(report, lane)
	if len(c.Series) == 0 {
		return ""
	}
	return inline(c)
}

// verdict returns the worst verdict of a budget.
func verdict(report loadtest.Report) loadtest.Verdict {
	if len(report.Budget) == 0 {
		return ""
	}
	worst := loadtest.Held
	for _, finding := range report.Budget {
		switch finding.Verdict {
		case loadtest.Exceeded:
			return loadtest.Exceeded
		case loadtest.Inconclusive:
			worst = loadtest.Inconclusive
		}
	}
	return worst
}

// Headline says in one sentence how the test ended.
func (v view) Headline() string {
	switch {
	case v.Interrupted:
		return "It was interrupted; this is what there was by then."
	case v.Verdict == loadtest.Held:
		return "The budget held."
	case v.Verdict == loadtest.Exceeded:
		return "The budget did not hold."
	case v.Verdict == loadtest.Inconclusive:
		return "Too little was measured to say whether the budget holds."
	}
	return "There was no budget to hold it against."
}

// Rates names a lane's rates.
func (l lane) Rates() string {
	rates := make([]string, len(l.Steps))
	for i, step := range l.Steps {
		rates[i] = step.Rate.String()
	}
	return strings.Join(rates, ", ")
}

// Rate writes a number of signatures per second.
func (l lane) Rate(n float64) string { return rate(n) }

// Unanswered returns how many requests of a step were never answered.
func (l lane) Unanswered(t loadtest.Totals) int64 { return t.Requests - t.Answered }

// rate writes a number to three digits or so.
func rate(n float64) string {
	if n >= 100 || n == float64(int64(n)) {
		return fmt.Sprintf("%.0f", n)
	}
	return fmt.Sprintf("%.1f", n)
}
