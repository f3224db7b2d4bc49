package cli

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// day is 24 hours: nothing here knows a calendar's.
const day = 24 * time.Hour

// days is a length of time as people type it: Go's, with days before the rest,
// as in 30d, 1d12h or 90m. It is a flag's value.
type days time.Duration

// String returns the text form.
func (d *days) String() string {
	if left := time.Duration(*d); left%day == 0 && left != 0 {
		return strconv.Itoa(int(left/day)) + "d"
	}
	return time.Duration(*d).String()
}

// Type names the kind of value, in help texts.
func (*days) Type() string { return "time" }

// Set parses a length of time, which must be positive.
func (d *days) Set(text string) error {
	count, rest, found := strings.Cut(text, "d")
	if !found {
		count, rest = "0", text
	}
	whole, err := strconv.ParseUint(count, 10, 16)
	if err != nil || whole > uint64(math.MaxInt64/day) {
		return strconv.ErrSyntax
	}
	length := time.Duration(whole) * day
	if rest != "" || !found {
		part, err := time.ParseDuration(rest)
		if err != nil || part < 0 || length+part < length {
			return strconv.ErrSyntax
		}
		length += part
	}
	if length <= 0 {
		return strconv.ErrRange
	}
	*d = days(length)
	return nil
}

// end is when an overlap is to end, as --t1 and --overlap say it.
type end struct {
	t1      string
	overlap days
}

// register declares the flags.
func (e *end) register(set *pflag.FlagSet) {
	set.StringVar(&e.t1, "t1", "", "the old key verifies until `TIME`, as in 2027-01-31T12:00:00Z or 2027-01-31 (UTC)")
	set.Var(&e.overlap, "overlap", "the old key verifies for `TIME` from now on, as in 30d or 36h")
}

// parse returns T1, or the zero time where only an overlap or neither is given.
func (e *end) parse() (t1 time.Time, overlap time.Duration, err error) {
	overlap = time.Duration(e.overlap)
	if e.t1 == "" {
		return time.Time{}, overlap, nil
	}
	if overlap != 0 {
		return time.Time{}, 0, misuse("--t1 and --overlap exclude each other.")
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t1, err = time.Parse(layout, e.t1); err == nil {
			return t1.UTC(), 0, nil
		}
	}
	return time.Time{}, 0, misuse("--t1 %q is no time; write it as in 2027-01-31T12:00:00Z.", e.t1)
}
