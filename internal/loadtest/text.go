package loadtest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// never stands for a percentile that was never answered.
const never = "∞"

// String returns the time to three digits or so, or ∞ where there is none.
func (m Millis) String() string {
	switch {
	case m == 0:
		return never
	case m < 10:
		return strconv.FormatFloat(float64(m), 'f', 2, 64)
	case m < 100:
		return strconv.FormatFloat(float64(m), 'f', 1, 64)
	}
	return strconv.FormatFloat(float64(m), 'f', 0, 64)
}

// Exact returns the time with each of its digits.
func (m Millis) Exact() string { return strconv.FormatFloat(float64(m), 'f', -1, 64) }

// SignerText says what signed.
func (s Setup) SignerText() string {
	text := s.Provider
	if s.Class != "" && string(s.Class) != s.Provider {
		text += ", class " + string(s.Class)
	}
	if s.Alg != "" {
		text += ", " + string(s.Alg)
	}
	return text
}

// WorkersText says how many workers there were, and where.
func (s Setup) WorkersText() string {
	switch {
	case s.Workers == 0:
		return "how many is not known"
	case s.WorkerHere == PlaceUnknown:
		return fmt.Sprintf("%d; whether on this machine is not known", s.Workers)
	}
	return fmt.Sprintf("%d; one is on %s", s.Workers, s.WorkerHere)
}

// ClientText says what the load came from.
func (s Setup) ClientText() string {
	text := fmt.Sprintf("cap %s, %s, %s, %s", s.Cap, s.Go, s.Platform, count(s.Cores, "core"))
	if s.CPU != "" {
		text += " of " + s.CPU
	}
	if s.Verified {
		return text + "; it checked each signature"
	}
	return text + "; it checked no signature"
}

// LoadText says what was asked for, but for the rates.
func (r Report) LoadText() string {
	steps := 0
	for _, lane := range r.Lanes {
		steps = len(lane.Steps)
	}
	return fmt.Sprintf("%s arrivals, %s of %g s after %g s of warm-up, messages of %s, at most %d in flight",
		r.Arrivals, count(steps, "step"), r.StepSeconds, r.WarmupSeconds, count(r.Size, "byte"), r.InFlight)
}

// PackText says what a request asked for.
func (l Lane) PackText() string { return count(l.Pack, "signature") + " a request" }

// count returns a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Troubles says, one sentence each, what kept requests from being answered in
// time; none where nothing did.
func (t Totals) Troubles() []string {
	var troubles []string
	for _, code := range slices.Sorted(maps.Keys(t.Refused)) {
		troubles = append(troubles, fmt.Sprintf("%s ended with %s", count(int(t.Refused[code]), "signature"), code))
	}
	if t.Held > 0 {
		troubles = append(troubles, count(int(t.Held), "request")+" sent late, as the most that may be were in flight; the wait counts")
	}
	if t.Shed > 0 {
		troubles = append(troubles, count(int(t.Shed), "request")+" never sent, for the same reason")
	}
	if t.Cut > 0 {
		troubles = append(troubles, count(int(t.Cut), "request")+" in flight when it was interrupted")
	}
	return troubles
}

// GeneratorText says how late cap itself was, and what that means.
func (l Lane) GeneratorText() string {
	late := l.Generator
	text := fmt.Sprintf("cap itself sent late by %s ms (p50), %s ms (p99), %s ms at most, which the times hold as well", late.P50, late.P99, late.Max)
	if l.Busy() {
		text += "; its machine is too busy to tell how fast the pool is"
	}
	return text
}

// String says what was found of a limit.
func (f Finding) String() string {
	text := fmt.Sprintf("%s %s: %s within %s ms: ", f.Lane, f.Rate, f.Limit, f.Within.Exact())
	if f.Measured > 0 {
		text += f.Measured.String() + " ms"
	} else {
		text += "never"
	}
	if f.Verdict == Inconclusive {
		text += fmt.Sprintf(" of %d requests; it takes %d to say", f.Requests, f.Needed)
	}
	return text
}
