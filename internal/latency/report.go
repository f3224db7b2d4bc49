package latency

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/capsign/cap/capsign"
)

// Report is what a check found. All times are in seconds.
type Report struct {
	// Verdict is Held where every line is that was seen, and at least one was.
	Verdict Verdict `json:"verdict"`
	// Lines are those of the budgets, Coverage says of which share of the spans.
	Lines    []Line     `json:"budgets"`
	Coverage []Coverage `json:"coverage"`
	// Splits is where the time went, per class.
	Splits []Split `json:"splits"`
	// Slowest names the requests that took the greatest share of their limit.
	Slowest []Slow  `json:"slowest"`
	Errors  []Error `json:"errors"`
	// Skew is nil unless clocks are known to differ.
	Skew   *Skew  `json:"clock_skew,omitzero"`
	Counts Counts `json:"counts"`
}

// Error counts the spans of one name that failed with one code.
type Error struct {
	Span  string       `json:"span"`
	Code  capsign.Code `json:"code"`
	Count uint64       `json:"count"`
}

// Report judges what the check was given. Spans whose trace is not whole are
// judged as they are; the check may be given no more.
func (c *Check) Report() Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.pending.held > 0 {
		c.fold(c.pending.next())
	}
	report := Report{
		Coverage: c.covered.report(c.budgets, c.options.Signatures), Slowest: c.slowest.report(), Errors: c.failures(),
		Skew: c.skew.report(), Counts: c.counts,
	}
	for _, l := range c.sorted() {
		report.Lines = append(report.Lines, l.report(c.budgets, l.seen(report.Coverage), l.doubts(c.budgets, report.Coverage)))
	}
	for _, class := range classes {
		if s := c.splits[class]; s != nil {
			report.Splits = append(report.Splits, s.report(class))
		}
	}
	report.Verdict = overall(report.Lines)
	return report
}

// seen reports whether the line must have samples: signatures of its class were
// counted, or workers have had requests.
func (l *line) seen(coverage []Coverage) bool {
	if l.measure == Express {
		return l.due > 0
	}
	return l.pool == "" && slices.ContainsFunc(coverage, func(c Coverage) bool { return c.Class == l.class && c.Signatures > 0 })
}

// doubts says why the line's samples are not all that there should be.
func (l *line) doubts(budgets Budgets, coverage []Coverage) (doubts []string) {
	for _, c := range coverage {
		if c.Doubt != "" && (c.Class == l.class || c.Class == "") {
			doubts = append(doubts, c.Doubt)
		}
	}
	if got := ratio(l.published, l.due); l.due > 0 && got < budgets.MinCoverage {
		doubts = append(doubts, fmt.Sprintf("of %s of the requests the publisher's span has come, and of %s it must", percent(got), percent(budgets.MinCoverage)))
	}
	return doubts
}

// failures returns the codes that were met, the most frequent first.
func (c *Check) failures() []Error {
	var failures []Error
	for key, n := range c.errors {
		failures = append(failures, Error{key.kind.String(), key.code, n})
	}
	slices.SortFunc(failures, func(a, b Error) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), cmp.Compare(a.Span, b.Span), cmp.Compare(a.Code, b.Code))
	})
	return failures
}

// String returns the name of the kind's spans.
func (k kind) String() string {
	for name, of := range kinds {
		if of == k {
			return name
		}
	}
	return ""
}

// Code returns the code of a report's verdict, or "" where the budgets held.
func (r Report) Code() capsign.Code {
	switch r.Verdict {
	case Held:
		return ""
	case Exceeded:
		return capsign.BudgetExceeded
	}
	return capsign.BudgetInconclusive
}

// ratio returns part / whole, and zero of nothing.
func ratio(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}
