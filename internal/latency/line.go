package latency

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capsign/cap/capsign"
)

// Measure is what a line of the budgets is about, as the file names it.
type Measure string

// The two measures.
const (
	Sign    Measure = "sign"    // a signature, with its wait for a slot and a session
	Express Measure = "express" // a request, from its publication to its result
)

// Verdict is what a check finds of a line, or of all of them.
type Verdict string

// The verdicts.
const (
	Held         Verdict = "held"
	Exceeded     Verdict = "exceeded"
	Inconclusive Verdict = "inconclusive" // not enough is known
	Unseen       Verdict = "unseen"       // nothing of the kind has happened
)

// lineKey names a line of the budgets.
type lineKey struct {
	measure Measure
	class   capsign.Class
	pool    string // whose own line it is; empty: of all the others
}

// line is one line of the budgets with its samples.
type line struct {
	lineKey
	limits  Limits
	samples histogram
	failed  uint64 // of the samples
	// published counts the requests of an express line whose publisher's span has
	// come, due those of whose deliveries a worker's has that names a publisher.
	published, due uint64
}

// newLines returns the lines of budgets, without samples.
func newLines(budgets Budgets) map[lineKey]*line {
	lines := make(map[lineKey]*line)
	add := func(key lineKey, limits Limits) {
		if limits != (Limits{}) {
			lines[key] = &line{lineKey: key, limits: limits, samples: newHistogram()}
		}
	}
	for _, class := range classes {
		add(lineKey{Sign, class, ""}, budgets.Sign.of(class))
		add(lineKey{Express, class, ""}, budgets.Express.of(class))
		for name, pool := range budgets.Pools {
			if pool.Sign != (Limits{}) {
				add(lineKey{Sign, class, name}, pool.Sign.or(budgets.Sign.of(class)))
			}
			if pool.Express != (Limits{}) {
				add(lineKey{Express, class, name}, pool.Express.or(budgets.Express.of(class)))
			}
		}
	}
	return lines
}

// or returns l with what it leaves out as in other.
func (l Limits) or(other Limits) Limits {
	return Limits{P95: cmp.Or(l.P95, other.P95), P99: cmp.Or(l.P99, other.P99)}
}

// line returns the line that judges a measure of a class in a pool, or nil.
func (c *Check) line(measure Measure, class capsign.Class, pool string) *line {
	if l := c.lines[lineKey{measure, class, pool}]; l != nil {
		return l
	}
	return c.lines[lineKey{measure, class, ""}]
}

// record takes a duration as n samples, unless it is of a request that was
// refused for what the requester did: that says nothing of the time a signature
// takes.
func (l *line) record(d time.Duration, n uint64, code capsign.Code) {
	if refused(code) {
		return
	}
	l.samples.record(d, n)
	if code != "" {
		l.failed += n
	}
}

// refused reports whether a code is the requester's to mend: those of the exit
// statuses 1 to 4.
func refused(code capsign.Code) bool {
	return code != "" && code.ExitStatus() <= capsign.KeyUnknown.ExitStatus()
}

// share returns which part of its tightest limit a duration takes; zero where
// there is none.
func (l *line) share(d time.Duration) float64 {
	limit := cmp.Or(l.limits.P99, l.limits.P95)
	if limit == 0 {
		return 0
	}
	return d.Seconds() / limit.Seconds()
}

// Line is what a report says of one line of the budgets.
type Line struct {
	Measure Measure       `json:"measure"`
	Class   capsign.Class `json:"class"`
	// Pool is whose own line it is; empty means all pools without one.
	Pool    string  `json:"pool,omitzero"`
	Verdict Verdict `json:"verdict"`
	// Why says what stands against Held, and is empty with it.
	Why string `json:"why,omitzero"`
	// Samples counts; Failed of them had no signature in the end.
	Samples uint64 `json:"samples"`
	Failed  uint64 `json:"failed"`
	// Seconds is what was measured, P95Limit and P99Limit in seconds what was
	// allowed; zero means no limit.
	Seconds  Percentiles `json:"seconds"`
	P95Limit float64     `json:"p95_limit"`
	P99Limit float64     `json:"p99_limit"`
}

// report judges the line. Doubts, if any, say why its samples are not all there
// are; seen says that there must be some.
func (l *line) report(budgets Budgets, seen bool, doubts []string) Line {
	out := Line{
		Measure: l.measure, Class: l.class, Pool: l.pool, Samples: l.samples.count(), Failed: l.failed,
		Seconds: l.samples.percentiles(), P95Limit: l.limits.P95.Seconds(), P99Limit: l.limits.P99.Seconds(),
	}
	excess := l.excess(budgets)
	switch {
	case out.Samples == 0 && !seen:
		out.Verdict = Unseen
	case out.Samples < uint64(budgets.MinSamples): //nolint:gosec // Load sees that it is positive
		out.Verdict, out.Why = Inconclusive, fmt.Sprintf("%d samples, and %d are needed", out.Samples, budgets.MinSamples)
	case len(excess) > 0:
		out.Verdict, out.Why = Exceeded, strings.Join(excess, "; ")
	case len(doubts) > 0:
		out.Verdict, out.Why = Inconclusive, strings.Join(doubts, "; ")
	default:
		out.Verdict = Held
	}
	return out
}

// excess says which limits the samples exceed.
func (l *line) excess(budgets Budgets) (excess []string) {
	for _, limit := range []struct {
		percentile float64
		at         time.Duration
	}{{95, l.limits.P95}, {99, l.limits.P99}} {
		if got := l.samples.percentile(limit.percentile); limit.at > 0 && !l.samples.within(got, limit.at) {
			excess = append(excess, fmt.Sprintf("p%.0f is %s, and %s is allowed", limit.percentile, milliseconds(got), milliseconds(limit.at)))
		}
	}
	if share := ratio(l.failed, l.samples.count()); share > budgets.MaxFailed {
		excess = append(excess, fmt.Sprintf("%s failed, and %s may", percent(share), percent(budgets.MaxFailed)))
	}
	return excess
}

// sorted returns the lines in the order of a report.
func (c *Check) sorted() []*line {
	var lines []*line
	for _, l := range c.lines {
		lines = append(lines, l)
	}
	slices.SortFunc(lines, func(a, b *line) int {
		return cmp.Or(
			-cmp.Compare(a.measure, b.measure), // sign comes first
			cmp.Compare(slices.Index(classes, a.class), slices.Index(classes, b.class)),
			cmp.Compare(a.pool, b.pool),
		)
	})
	return lines
}

// overall is the verdict of all lines: the worst of those that were seen.
func overall(lines []Line) Verdict {
	for _, verdict := range []Verdict{Exceeded, Inconclusive, Held} {
		if slices.ContainsFunc(lines, func(l Line) bool { return l.Verdict == verdict }) {
			return verdict
		}
	}
	return Inconclusive
}
