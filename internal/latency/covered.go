package latency

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"

	"github.com/capsign/cap/capsign"
)

// signaturesMetric is the histogram in which workers count their calls to the
// provider.
const signaturesMetric = "cap.provider.sign.duration"

// maxSeries is how many processes, and how many series of each, are followed.
const maxSeries = 4096

// covered finds out which share of the spans that there should be has arrived.
type covered struct {
	since     int64 // when listening began, as of the checker's clock
	processes map[string]*process
	traced    map[capsign.Class]uint64  // signatures whose spans have come
	squares   map[capsign.Class]float64 // of the signatures in each trace, summed
}

// newCovered returns one that has seen nothing.
func newCovered(since time.Time) covered {
	c := covered{
		processes: make(map[string]*process), traced: make(map[capsign.Class]uint64), squares: make(map[capsign.Class]float64),
	}
	if !since.IsZero() {
		c.since = since.UnixNano()
	}
	return c
}

// process returns what is known of a worker process, or nil where there are too
// many to follow.
func (c *covered) process(name string) *process {
	p := c.processes[name]
	if p == nil && len(c.processes) < maxSeries {
		p = &process{
			series: make(map[string]*series), confirmed: make(map[capsign.Class]uint64), later: make(map[moment]uint64),
		}
		c.processes[strings.Clone(name)] = p
	}
	return p
}

// signed takes a sign span of a process.
func (c *covered) signed(name string, s span) {
	if s.code == "" {
		c.traced[s.class] += s.many
	}
	if p := c.process(name); p != nil {
		p.signed(s)
	}
}

// request takes a request, whose signatures are sampled together.
func (c *covered) request(r request) {
	var n float64
	for _, s := range r.signings {
		n += float64(s.span.many)
	}
	c.squares[r.class] += n * n
}

// counted takes a process's count of its signatures.
func (c *covered) counted(name string, h *metricpb.Histogram) {
	p := c.process(name)
	if p == nil {
		return
	}
	for _, point := range h.GetDataPoints() {
		p.counted(point, h.GetAggregationTemporality(), c.since)
	}
	p.confirm()
}

// process is one worker process: what it says that it has signed, and its sign
// spans of that time. Its own clock tells both, so that nothing depends on when
// either arrived.
type process struct {
	series    map[string]*series
	from, to  int64 // the time in which its signatures were counted
	first     int64 // when the first count was taken
	confirmed map[capsign.Class]uint64
	later     map[moment]uint64 // signatures whose spans ended after to, or before it is known
}

// moment is a hundredth of a second in which signatures of a class ended.
type moment struct {
	class capsign.Class
	at    int64 // in hundredths of a second since 1970
}

const (
	// hundredth is how exactly a span's end is kept until a count covers it.
	hundredth = int64(10 * time.Millisecond)
	// maxLater is how many moments wait for a count: of a busy worker, those of
	// twenty minutes.
	maxLater = 1 << 17
)

// series is one of a process's counts.
type series struct {
	class      capsign.Class
	start      uint64
	last, base uint64 // what it says, and what it said at the beginning
	done       uint64 // before it began anew
}

// count returns how many signatures were counted.
func (s series) count() uint64 { return s.done + s.last - s.base }

// signed takes a sign span.
func (p *process) signed(s span) {
	at := moment{s.class, s.end / hundredth}
	switch {
	case p.to != 0 && s.end <= p.to:
		if s.end > p.from {
			p.confirmed[s.class] += s.many
		}
	case p.later[at] > 0 || len(p.later) < maxLater:
		p.later[at] += s.many
	}
}

// counted takes one point.
func (p *process) counted(point *metricpb.HistogramDataPoint, how metricpb.AggregationTemporality, since int64) {
	start, at := int64(point.GetStartTimeUnixNano()), int64(point.GetTimeUnixNano()) //nolint:gosec // until 2262
	if p.first == 0 {
		p.first, p.from = at, at
	}
	cumulative := how == metricpb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	known := !cumulative || start >= since // else it had counted before there was anybody to listen
	if known && at == p.first {
		p.from = min(p.from, start)
	}
	p.to = max(p.to, at)
	key := attributesKey(point.GetAttributes())
	s := p.series[key]
	if s == nil {
		if len(p.series) == maxSeries {
			return
		}
		s = &series{class: pointClass(point), start: point.GetStartTimeUnixNano()}
		if !known && at == p.first {
			s.base = point.GetCount()
		}
		p.series[key] = s
	}
	s.take(point, cumulative)
}

// take takes what a series says next.
func (s *series) take(point *metricpb.HistogramDataPoint, cumulative bool) {
	switch {
	case !cumulative:
		s.done += point.GetCount()
		return
	case point.GetStartTimeUnixNano() != s.start || point.GetCount() < s.last:
		s.done, s.base, s.start = s.count(), 0, point.GetStartTimeUnixNano()
	}
	s.last = point.GetCount()
}

// confirm counts the spans that the latest count covers.
func (p *process) confirm() {
	for at, n := range p.later {
		end := at.at * hundredth
		if end > p.to {
			continue
		}
		if end+hundredth > p.from {
			p.confirmed[at.class] += n
		}
		delete(p.later, at)
	}
}

// unconfirmed reports whether there are sign spans of a class that no count
// covers.
func (p *process) unconfirmed(class capsign.Class) bool {
	for at := range p.later {
		if at.class == class {
			return true
		}
	}
	return false
}

// pointClass returns the class of a point's signatures, or none.
func pointClass(point *metricpb.HistogramDataPoint) capsign.Class {
	for _, attribute := range point.GetAttributes() {
		if attribute.GetKey() == "cap.class" {
			return classOf(attribute.GetValue().GetStringValue())
		}
	}
	return ""
}

// attributesKey returns attributes as one text, in one order.
func attributesKey(attributes []*commonpb.KeyValue) string {
	texts := make([]string, len(attributes))
	for i, attribute := range attributes {
		texts[i] = fmt.Sprintf("%q=%q", attribute.GetKey(), attribute.GetValue().String())
	}
	slices.Sort(texts)
	return strings.Join(texts, ",")
}

// Coverage is what a report says of the sign spans that there should be.
type Coverage struct {
	// Class is empty where the signatures of all classes are counted together.
	Class capsign.Class `json:"class,omitzero"`
	// Signatures is how many there were, Traced how many of them have a span.
	Signatures uint64 `json:"signatures"`
	Traced     uint64 `json:"traced"`
	// Coverage is Traced / (Signatures × the declared sampling).
	Coverage float64 `json:"coverage"`
	// Doubt says why the spans are not to be taken for a fair sample; empty: they
	// are.
	Doubt string `json:"doubt,omitzero"`
}

// report returns the coverage of each class that was seen or, where the number of
// signatures is given, of all.
func (c covered) report(budgets Budgets, signatures uint64) []Coverage {
	if signatures > 0 {
		all := Coverage{Signatures: signatures}
		var squares float64
		for class, n := range c.traced {
			all.Traced += n
			squares += c.squares[class]
		}
		return []Coverage{all.judged(budgets, squares)}
	}
	var out []Coverage
	for _, class := range classes {
		if one, bare := c.of(class); one.Signatures > 0 || one.Traced > 0 || bare {
			one = one.judged(budgets, c.squares[class])
			if bare {
				one.Doubt = "a worker does not say how many signatures it made: export its metrics, or give --signatures"
			}
			out = append(out, one)
		}
	}
	return out
}

// of returns what the processes say of a class. Bare means that one has spans of
// it and no count.
func (c covered) of(class capsign.Class) (one Coverage, bare bool) {
	one.Class = class
	for _, p := range c.processes {
		for _, s := range p.series {
			if s.class == class {
				one.Signatures += s.count()
			}
		}
		one.Traced += p.confirmed[class]
		if p.to == 0 {
			bare = bare || p.unconfirmed(class)
		}
	}
	return one, bare
}

// judged says whether the coverage will do. Where requests are sampled, their
// number is left to chance: three standard deviations of it are allowed for.
func (c Coverage) judged(budgets Budgets, squares float64) Coverage {
	expected := float64(c.Signatures) * budgets.Sampling
	if expected > 0 {
		c.Coverage = float64(c.Traced) / expected
	}
	chance := 3 * math.Sqrt(squares*(1-budgets.Sampling))
	traced := float64(c.Traced)
	switch {
	case c.Signatures == 0:
		c.Doubt = "no signature was counted"
	case traced+chance < budgets.MinCoverage*expected:
		c.Doubt = fmt.Sprintf("spans are missing: %s of those due have come, and %s must", percent(c.Coverage), percent(budgets.MinCoverage))
	case traced-chance > expected/budgets.MinCoverage:
		c.Doubt = fmt.Sprintf("there are more spans than there should be, %s of those due: is the sampling %g?", percent(c.Coverage), budgets.Sampling)
	}
	return c
}
