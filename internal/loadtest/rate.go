package loadtest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/capsign/cap/capsign"
)

// Rate is how many signatures per second are asked for during one step. It goes
// evenly from From to To; where both are the same, it is constant.
type Rate struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
}

// check reports a rate that is out of range.
func (r Rate) check() error {
	if !(r.From > 0) || !(r.To > 0) || r.From > MaxRate || r.To > MaxRate { // NaN too
		return fmt.Errorf("a rate of %s", r)
	}
	return nil
}

// mean returns the rate over the whole step.
func (r Rate) mean() float64 { return (r.From + r.To) / 2 }

// String returns the rate as [ParseRates] reads it, such as 200/s or 10..500/s.
func (r Rate) String() string {
	from := strconv.FormatFloat(r.From, 'f', -1, 64)
	if r.From == r.To {
		return from + "/s"
	}
	return from + ".." + strconv.FormatFloat(r.To, 'f', -1, 64) + "/s"
}

// oneRate is a number of signatures per second, or two for a ramp.
var oneRate = regexp.MustCompile(`^(\d{1,7}(?:\.\d{1,3})?)(?:\.\.(\d{1,7}(?:\.\d{1,3})?))?(?:/s)?$`)

// maxRates is the most steps that a list of rates may have.
const maxRates = 100

// ParseRates reads a list of rates, such as 200, 100/s,200/s,400/s or, for a
// ramp, 10..500. The error wraps [capsign.BadRequest].
func ParseRates(text string) ([]Rate, error) {
	var rates []Rate
	for part := range strings.SplitSeq(text, ",") {
		match := oneRate.FindStringSubmatch(strings.TrimSpace(part))
		if match == nil {
			return nil, rateFault(part)
		}
		// The pattern leaves nothing that is no number.
		from, _ := strconv.ParseFloat(match[1], 64)
		to := from
		if match[2] != "" {
			to, _ = strconv.ParseFloat(match[2], 64)
		}
		rate := Rate{from, to}
		if rate.check() != nil {
			return nil, rateFault(part)
		}
		if rates = append(rates, rate); len(rates) > maxRates {
			return nil, fmt.Errorf("loadtest: more than %d rates: %w", maxRates, capsign.BadRequest)
		}
	}
	return rates, nil
}

// rateFault refuses what is no rate.
func rateFault(text string) error {
	return fmt.Errorf("loadtest: rate %q: %w", text, capsign.BadRequest)
}
