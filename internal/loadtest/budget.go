package loadtest

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/capsign/cap/capsign"
)

// Limit is one line of a budget: that so many in a hundred requests of a step
// are answered within a time.
type Limit struct {
	// Lane is the lane it is for; empty means each that is loaded.
	Lane capsign.Lane
	// Percent is how many in a hundred requests: 95 is the p95, 100 is the
	// slowest one.
	Percent float64
	// Within is the time.
	Within time.Duration
}

// Name returns what is limited, such as p95 or max.
func (l Limit) Name() string {
	if l.Percent == 100 {
		return "max"
	}
	return "p" + strconv.FormatFloat(l.Percent, 'f', -1, 64)
}

// String returns the limit as [ParseBudget] reads it.
func (l Limit) String() string {
	text := l.Name() + "=" + l.Within.String()
	if l.Lane != "" {
		text = string(l.Lane) + ":" + text
	}
	return text
}

// oneLimit is a percentile and a time.
var oneLimit = regexp.MustCompile(`^(?:p(\d{1,2}(?:\.\d{1,3})?)|max)=(\S+)$`)

// ParseBudget reads limits such as p95=50ms,p99=200ms or, for one lane alone,
// express:p95=50ms,max=1s. The error wraps [capsign.BadRequest].
func ParseBudget(text string) ([]Limit, error) {
	var lane capsign.Lane
	rest := text
	if name, after, named := strings.Cut(text, ":"); named {
		lane, rest = capsign.Lane(name), after
		if lane != capsign.Express && lane != capsign.Bulk {
			return nil, budgetFault(text)
		}
	}
	var limits []Limit
	for part := range strings.SplitSeq(rest, ",") {
		limit, ok := parseLimit(strings.TrimSpace(part))
		if !ok {
			return nil, budgetFault(part)
		}
		limit.Lane = lane
		limits = append(limits, limit)
	}
	return limits, nil
}

// parseLimit reads one limit, and reports whether it is one.
func parseLimit(text string) (Limit, bool) {
	match := oneLimit.FindStringSubmatch(text)
	if match == nil {
		return Limit{}, false
	}
	limit := Limit{Percent: 100}
	if match[1] != "" {
		limit.Percent, _ = strconv.ParseFloat(match[1], 64) // the pattern leaves numbers alone
	}
	within, err := time.ParseDuration(match[2])
	limit.Within = within
	return limit, err == nil && within >= time.Microsecond && within <= longest && limit.Percent > 0
}

// budgetFault refuses what is no budget.
func budgetFault(text string) error {
	return fmt.Errorf("loadtest: budget %q: %w", text, capsign.BadRequest)
}

// needs returns how many requests it takes to say that a limit holds: enough for
// ten to be slower than the percentile.
func (l Limit) needs() int64 {
	if l.Percent == 100 {
		return 1
	}
	return int64(math.Ceil(10/(1-l.Percent/100) - 1e-6))
}

// Verdict says whether a limit held.
type Verdict string

// The verdicts.
const (
	Held         Verdict = "held"
	Exceeded     Verdict = "exceeded"
	Inconclusive Verdict = "inconclusive" // too few requests to say
)

// Finding is a limit held against one step of one lane.
type Finding struct {
	Lane capsign.Lane `json:"lane"`
	// Rate is the step's.
	Rate Rate `json:"rate"`
	// Limit is what is limited, such as p95 or max.
	Limit string `json:"limit"`
	// Within is the limit.
	Within Millis `json:"within_ms"`
	// Measured is what it was; absent where so many were never answered.
	Measured Millis `json:"measured_ms,omitzero"`
	// Requests is how many were due, and Needed how many it takes to say that the
	// limit holds.
	Requests int64   `json:"requests"`
	Needed   int64   `json:"needed"`
	Verdict  Verdict `json:"verdict"`
}

// judge holds a step of a lane against the limits that are for it.
func judge(limits []Limit, lane capsign.Lane, step Step) []Finding {
	var findings []Finding
	for _, limit := range limits {
		if limit.Lane != "" && limit.Lane != lane {
			continue
		}
		findings = append(findings, Finding{
			Lane: lane, Rate: step.Rate, Limit: limit.Name(), Within: millis(limit.Within),
			Measured: step.tally.percentile(limit.Percent), Requests: step.Requests, Needed: limit.needs(),
			Verdict: limit.verdict(step),
		})
	}
	return findings
}

// verdict holds a step against the limit. Of few requests it can be certain that
// the limit is exceeded: where even as many as it takes, with the missing ones
// fast, had too many slow ones among them.
func (l Limit) verdict(step Step) Verdict {
	enough := max(step.Requests, l.needs())
	maySlow := enough - rank(l.Percent, enough)
	worst, answered := step.tally.slowest(maySlow + 1)
	switch {
	case maySlow < step.Requests && (!answered || worst > l.Within):
		return Exceeded
	case step.Requests < l.needs():
		return Inconclusive
	}
	return Held
}

// Judge returns nil where each limit held, and else an error that wraps
// [capsign.BudgetExceeded] or, where none was exceeded,
// [capsign.BudgetInconclusive].
func (r Report) Judge() error {
	var unclear bool
	for _, finding := range r.Budget {
		switch finding.Verdict {
		case Exceeded:
			return fmt.Errorf("loadtest: judge: %w", capsign.BudgetExceeded)
		case Inconclusive:
			unclear = true
		}
	}
	if unclear {
		return fmt.Errorf("loadtest: judge: %w", capsign.BudgetInconclusive)
	}
	return nil
}
