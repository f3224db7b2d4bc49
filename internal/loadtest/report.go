package loadtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/capsign/cap/capsign"
)

// Millis is a time in milliseconds. 0 stands for none: so many requests were
// never answered.
type Millis float64

// millis returns d in milliseconds, to the microsecond.
func millis(d time.Duration) Millis { return Millis(d.Microseconds()) / 1000 }

// Report is what came of a run. Rates are signatures per second.
type Report struct {
	// Began is when, in UTC.
	Began time.Time `json:"began"`
	// Interrupted says that the run ended early.
	Interrupted bool `json:"interrupted,omitzero"`
	// Setup is what ran where; the caller of Run fills it in.
	Setup Setup `json:"setup,omitzero"`
	// Arrivals, Size, InFlight, StepSeconds and WarmupSeconds are the Config's.
	Arrivals      Arrivals `json:"arrivals"`
	Size          int      `json:"message_bytes"`
	InFlight      int      `json:"in_flight"`
	StepSeconds   float64  `json:"step_seconds"`
	WarmupSeconds float64  `json:"warmup_seconds"`
	// Lanes are those that were loaded.
	Lanes []Lane `json:"lanes"`
	// Budget has a finding for each limit and step; empty without a budget.
	Budget []Finding `json:"budget,omitempty"`
}

// Lane is what came of one lane's load.
type Lane struct {
	Lane capsign.Lane `json:"lane"`
	// Pack is how many signatures each request asked for.
	Pack  int    `json:"pack"`
	Steps []Step `json:"steps"`
	// Generator says how late cap itself was.
	Generator Lateness `json:"generator"`
	// Series is what happened over time, one entry for each IntervalSeconds.
	IntervalSeconds float64    `json:"interval_seconds"`
	Series          []Interval `json:"series"`
}

// Totals counts what became of the requests that fell due in some stretch of
// time. Each ended in one way, but for those of which only some signatures were
// refused: Requests = Answered + Shed + Cut + those refused.
type Totals struct {
	// Requests is how many were due.
	Requests int64 `json:"requests"`
	// Answered is how many had each of their signatures made and checked.
	Answered int64 `json:"answered"`
	// Offered and Throughput are the signatures per second that were asked for,
	// and that came, in that time.
	Offered    float64 `json:"offered_per_second"`
	Throughput float64 `json:"answered_per_second"`
	// Held is how many were sent late because as many as may be were in flight.
	// Their wait counts.
	Held int64 `json:"held,omitzero"`
	// Shed is how many were not sent at all, since that lasted to the run's end.
	Shed int64 `json:"shed,omitzero"`
	// Cut is how many an interrupt ended.
	Cut int64 `json:"cut,omitzero"`
	// Refused is how many signatures were refused, by code.
	Refused map[capsign.Code]int64 `json:"refused,omitempty"`
}

// RefusedTotal returns how many signatures were refused.
func (t Totals) RefusedTotal() int64 {
	var total int64
	for _, n := range t.Refused {
		total += n
	}
	return total
}

// Step is what came of one rate. Its times are over the requests due, each from
// the instant that it was due.
type Step struct {
	Rate    Rate    `json:"rate"`
	Seconds float64 `json:"seconds"`
	Totals
	P50  Millis `json:"p50_ms,omitzero"`
	P90  Millis `json:"p90_ms,omitzero"`
	P95  Millis `json:"p95_ms,omitzero"`
	P99  Millis `json:"p99_ms,omitzero"`
	P999 Millis `json:"p99_9_ms,omitzero"`
	// Max is the longest of the times there are: of the requests answered.
	Max Millis `json:"max_ms,omitzero"`
	// Curve is the whole distribution, as far as there are requests to tell.
	Curve []CurvePoint `json:"curve,omitempty"`

	tally *tally
}

// CurvePoint is the time within which Percent of a hundred requests were
// answered.
type CurvePoint struct {
	Percent float64 `json:"percent"`
	Within  Millis  `json:"within_ms"`
}

// Interval is what came of the requests that fell due in one of the intervals
// that a run is divided into.
type Interval struct {
	// Second is when it begins, after the warm-up.
	Second float64 `json:"second"`
	Totals
	P50 Millis `json:"p50_ms,omitzero"`
	P95 Millis `json:"p95_ms,omitzero"`
	P99 Millis `json:"p99_ms,omitzero"`
}

// Lateness says how late the generator itself was with requests that nothing
// held back. Their times hold it too.
type Lateness struct {
	P50 Millis `json:"late_p50_ms"`
	P99 Millis `json:"late_p99_ms"`
	Max Millis `json:"late_max_ms"`
}

// Refusal returns nil where anything was signed, or nothing was due, and else an
// error that wraps the code that most signatures were refused with, or
// [capsign.ResultTimeout] where none was.
func (r Report) Refusal() error {
	refused := make(map[capsign.Code]int64)
	var due int64
	for _, lane := range r.Lanes {
		for _, step := range lane.Steps {
			due += step.Requests
			if step.Answered > 0 || step.Throughput > 0 {
				return nil
			}
			for code, n := range step.Refused {
				refused[code] += n
			}
		}
	}
	if due == 0 {
		return nil
	}
	most := capsign.ResultTimeout
	for _, code := range slices.Sorted(maps.Keys(refused)) {
		if refused[code] > refused[most] {
			most = code
		}
	}
	return fmt.Errorf("loadtest: refusal: %w", most)
}

// Busy reports whether the generator itself was so late that the times say as
// much of the machine it ran on as of the pool.
func (l Lane) Busy() bool {
	var slowest Millis
	for _, step := range l.Steps {
		slowest = max(slowest, step.P99)
	}
	return l.Generator.P99 >= 1 && l.Generator.P99 >= slowest/10
}

// newReport says what came of a run that has ended.
func newReport(ctx context.Context, cfg Config, generators []*generator, began time.Time) Report {
	r := Report{
		Began: began.UTC().Truncate(time.Millisecond), Interrupted: ctx.Err() != nil,
		Arrivals: cfg.Arrivals, Size: cfg.Size, InFlight: cfg.InFlight,
		StepSeconds: cfg.Step.Seconds(), WarmupSeconds: cfg.Warmup.Seconds(),
	}
	for _, g := range generators {
		lane := g.report()
		r.Lanes = append(r.Lanes, lane)
		for _, step := range lane.Steps {
			r.Budget = append(r.Budget, judge(cfg.Budget, lane.Lane, step)...)
		}
	}
	return r
}

// counted returns how long requests that count fell due.
func (g *generator) counted() time.Duration {
	end := g.ends
	if !g.stopped.IsZero() {
		end = g.stopped
	}
	return max(end.Sub(g.record.began), 0)
}

// report says what came of the lane.
func (g *generator) report() Lane {
	g.record.mu.Lock()
	defer g.record.mu.Unlock()
	lane := Lane{Lane: g.load.Lane, Pack: g.load.Pack, IntervalSeconds: g.record.interval.Seconds()}
	counted := g.counted()
	for i, t := range g.record.steps {
		if lasted := min(counted-time.Duration(i)*g.record.step, g.record.step); lasted > 0 {
			lane.Steps = append(lane.Steps, newStep(t, g.load.Rates[i], g.load.Pack, lasted))
		}
	}
	for i, t := range g.record.intervals {
		begin := time.Duration(i) * g.record.interval
		if lasted := min(counted-begin, g.record.interval); lasted > 0 {
			lane.Series = append(lane.Series, newInterval(t, begin, g.load.Pack, lasted))
		}
	}
	late := g.record.late
	lane.Generator = Lateness{micros(late.ValueAtQuantile(50)), micros(late.ValueAtQuantile(99)), micros(late.Max())}
	return lane
}

// micros returns so many microseconds.
func micros(n int64) Millis { return Millis(n) / 1000 }

// newStep says what came of one rate that was kept up for so long.
func newStep(t *tally, rate Rate, pack int, lasted time.Duration) Step {
	return Step{
		Rate: rate, Seconds: lasted.Seconds(), Totals: t.totals(pack, lasted),
		P50: t.percentile(50), P90: t.percentile(90), P95: t.percentile(95), P99: t.percentile(99), P999: t.percentile(99.9),
		Max: micros(t.waits.Max()), Curve: t.curve(), tally: t,
	}
}

// newInterval says what came of one interval; t is nil where nothing did.
func newInterval(t *tally, begin time.Duration, pack int, lasted time.Duration) Interval {
	if t == nil {
		return Interval{Second: begin.Seconds()}
	}
	return Interval{
		Second: begin.Seconds(), Totals: t.totals(pack, lasted),
		P50: t.percentile(50), P95: t.percentile(95), P99: t.percentile(99),
	}
}

// totals returns the counts of a tally of requests of pack signatures each.
func (t *tally) totals(pack int, lasted time.Duration) Totals {
	return Totals{
		Requests: t.due, Answered: t.answered, Held: t.held, Shed: t.shed, Cut: t.cut,
		Offered:    float64(t.due*int64(pack)) / lasted.Seconds(),
		Throughput: float64(t.signed) / lasted.Seconds(),
		Refused:    maps.Clone(t.refused),
	}
}

// curvePercents are the percentiles of a curve, as far as there are requests to
// tell them apart.
var curvePercents = []float64{
	0, 10, 25, 50, 75, 80, 85, 90, 92.5, 95, 96.5, 97.5, 98, 98.5, 99, 99.25, 99.5, 99.7, 99.8, 99.9,
	99.95, 99.97, 99.98, 99.99, 99.995, 99.999,
}

// curve returns the distribution of the requests due, up to the slowest answer or
// to the first percentile that was never answered.
func (t *tally) curve() []CurvePoint {
	var points []CurvePoint
	for _, percent := range curvePercents {
		within := t.percentile(percent)
		if within == 0 || (100-percent)/100*float64(t.due) < 1 {
			break
		}
		points = append(points, CurvePoint{percent, within})
	}
	return points
}
