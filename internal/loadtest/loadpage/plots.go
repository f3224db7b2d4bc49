package loadpage

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/chart"
	"github.com/capsign/cap/internal/loadtest"
)

// plot returns a plot of a lane, with an id of its own.
func plot(lane loadtest.Lane, what, title string) chart.Chart {
	return chart.Chart{ID: string(lane.Lane) + "-" + what, Title: fmt.Sprintf("%s lane: %s", lane.Lane, title)}
}

// value is a time to draw. 0, of what was never answered, has no place on a
// logarithmic axis: it is a gap.
func value(m loadtest.Millis) float64 { return float64(m) }

// limits returns the budget's lines of a lane.
func limits(report loadtest.Report, lane capsign.Lane) []chart.Limit {
	var found []chart.Limit
	for _, f := range report.Budget {
		limit := chart.Limit{At: float64(f.Within), Label: fmt.Sprintf("%s ≤ %s ms", f.Limit, f.Within.Exact())}
		if f.Lane == lane && !slices.Contains(found, limit) {
			found = append(found, limit)
		}
	}
	return found
}

// breaks returns where the steps of a lane begin, unless there is only one.
func breaks(report loadtest.Report, lane loadtest.Lane) []chart.Break {
	if len(lane.Steps) < 2 {
		return nil
	}
	var found []chart.Break
	for i, step := range lane.Steps {
		found = append(found, chart.Break{At: float64(i) * report.StepSeconds, Label: step.Rate.String()})
	}
	return found
}

// latencyChart draws percentiles over time.
func latencyChart(report loadtest.Report, i int) chart.Chart {
	lane := report.Lanes[i]
	c := plot(lane, "latency", "latency over time")
	c.Desc = fmt.Sprintf("The median, p95 and p99 of the requests due in each %s, from when they were due to their answers.", every(lane))
	c.X = overTime(lane)
	c.Y = chart.Axis{Label: "milliseconds, a logarithmic scale", Log: true}
	c.Breaks, c.Limits = breaks(report, lane), limits(report, lane.Lane)
	series := []chart.Series{{Name: "p99"}, {Name: "p95"}, {Name: "p50"}}
	for _, at := range lane.Series {
		x := at.Second + lane.IntervalSeconds/2
		for i, y := range []loadtest.Millis{at.P99, at.P95, at.P50} {
			series[i].Points = append(series[i].Points, chart.Point{X: x, Y: value(y)})
		}
	}
	c.Series = series
	return c
}

// overTime is the axis of what a lane did over time.
func overTime(lane loadtest.Lane) chart.Axis {
	end := 0.0
	for _, step := range lane.Steps {
		end += step.Seconds
	}
	return chart.Axis{Label: "seconds since the warm-up", AtLeast: end, Tight: true}
}

// every says what the time series counts in.
func every(lane loadtest.Lane) string {
	if lane.IntervalSeconds == 1 {
		return "second"
	}
	return fmt.Sprintf("%g seconds", lane.IntervalSeconds)
}

// maxCurves is the most steps whose distributions are drawn.
const maxCurves = 6

// nines is how far to the right a percentile is: each nine takes the same room.
func nines(percent float64) float64 { return -math.Log10(1 - percent/100) }

// curveChart draws the distribution of each step.
func curveChart(report loadtest.Report, i int) chart.Chart {
	lane := report.Lanes[i]
	c := plot(lane, "percentiles", "percentiles")
	c.Desc = "For each rate, the time within which a share of the requests due were answered; the axis gives the slow ones room."
	c.X = chart.Axis{Label: "of a hundred requests", AtLeast: 2}
	for _, percent := range []float64{0, 50, 90, 99, 99.9, 99.99, 99.999} {
		c.X.Ticks = append(c.X.Ticks, chart.Tick{At: nines(percent), Label: fmt.Sprintf("%g", percent)})
	}
	c.Y = chart.Axis{Label: "milliseconds, a logarithmic scale", Log: true}
	c.Limits = limits(report, lane.Lane)
	for _, step := range drawn(lane.Steps) {
		series := chart.Series{Name: step.Rate.String()}
		for _, p := range step.Curve {
			series.Points = append(series.Points, chart.Point{X: nines(p.Percent), Y: value(p.Within)})
		}
		c.Series = append(c.Series, series)
	}
	return c
}

// drawn returns the steps, or as many as can be told apart, of all heights.
func drawn(steps []loadtest.Step) []loadtest.Step {
	if len(steps) <= maxCurves {
		return steps
	}
	var some []loadtest.Step
	for i := range maxCurves {
		some = append(some, steps[i*(len(steps)-1)/(maxCurves-1)])
	}
	return some
}

// throughputChart draws what was answered against what was offered: of each step
// and, of a ramp, over its time.
func throughputChart(report loadtest.Report, i int) chart.Chart {
	lane := report.Lanes[i]
	c := plot(lane, "throughput", "throughput against offered load")
	c.Desc = "Signatures per second answered, for those asked for. Below the dashed diagonal the pool falls behind."
	answered := chart.Series{Name: "answered", Kind: chart.Line}
	var seconds chart.Series
	for _, step := range lane.Steps {
		answered.Points = append(answered.Points, chart.Point{X: step.Offered, Y: step.Throughput})
	}
	most := 0.0
	for _, step := range lane.Steps {
		most = max(most, step.Offered)
		if step.Rate.From != step.Rate.To {
			seconds = perInterval(lane)
		}
	}
	for _, p := range seconds.Points {
		most = max(most, p.X)
	}
	slices.SortFunc(answered.Points, func(p, q chart.Point) int { return int(math.Copysign(1, p.X-q.X)) })
	c.Series = []chart.Series{answered, seconds, {Name: "all of it", Kind: chart.Guide, Points: []chart.Point{{}, {X: most, Y: most}}}}
	c.X = chart.Axis{Label: "signatures asked for per second"}
	c.Y = chart.Axis{Label: "signatures answered per second"}
	return c
}

// perInterval returns what was answered against what was offered, over time.
func perInterval(lane loadtest.Lane) chart.Series {
	series := chart.Series{Name: "each " + every(lane), Kind: chart.Dots}
	for _, at := range lane.Series {
		series.Points = append(series.Points, chart.Point{X: at.Offered, Y: at.Throughput})
	}
	return series
}

// lostChart draws what was refused, by code, and what was never sent or cut off,
// by when it was due.
func lostChart(report loadtest.Report, i int) chart.Chart {
	lane := report.Lanes[i]
	c := plot(lane, "lost", "what was not answered")
	c.Desc = fmt.Sprintf("Refusals by code, and requests never sent or cut off, of those due in each %s.", every(lane))
	c.X = overTime(lane)
	c.Y = chart.Axis{Label: "each " + every(lane)}
	c.Breaks = breaks(report, lane)
	series := make(map[string]chart.Series)
	for _, name := range losses(lane) {
		s := chart.Series{Name: name, Kind: chart.Area}
		for _, at := range lane.Series {
			s.Points = append(s.Points, chart.Point{X: at.Second + lane.IntervalSeconds/2, Y: float64(loss(at.Totals)[name])})
		}
		series[name] = s
	}
	for _, name := range slices.Sorted(maps.Keys(series)) {
		c.Series = append(c.Series, series[name])
	}
	return c
}

// loss counts what was not answered, by name.
func loss(t loadtest.Totals) map[string]int64 {
	counts := map[string]int64{"never sent": t.Shed, "interrupted": t.Cut}
	for code, n := range t.Refused {
		counts[string(code)] = n
	}
	return counts
}

// losses names what there was of that in a lane.
func losses(lane loadtest.Lane) []string {
	found := make(map[string]bool)
	for _, at := range lane.Series {
		for name, n := range loss(at.Totals) {
			if n > 0 {
				found[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// curveColumns are the percentiles of the table beside a curve.
var curveColumns = []float64{50, 75, 90, 95, 99, 99.5, 99.9, 99.99}

// curveRow is one step of the table beside a curve.
type curveRow struct {
	Rate   loadtest.Rate
	Within []string
}

// curveRows returns the table beside a lane's curve.
func curveRows(lane loadtest.Lane) []curveRow {
	var rows []curveRow
	for _, step := range lane.Steps {
		row := curveRow{Rate: step.Rate}
		for _, percent := range curveColumns {
			cell := "–"
			for _, p := range step.Curve {
				if p.Percent == percent {
					cell = p.Within.String()
				}
			}
			row.Within = append(row.Within, cell)
		}
		rows = append(rows, row)
	}
	return rows
}
