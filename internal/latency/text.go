package latency

import (
	"fmt"
	"strings"
	"time"
)

// Text lays the report out for a terminal of 80 columns.
func (r Report) Text() string {
	var page strings.Builder
	r.writeLines(&page)
	r.writeCoverage(&page)
	for _, s := range r.Splits {
		s.write(&page)
	}
	r.writeSlowest(&page)
	r.writeNotes(&page)
	fmt.Fprintf(&page, "\n%d requests, %d spans: %s\n", r.Counts.Requests, r.Counts.Spans, r.Verdict)
	return page.String()
}

// writeLines writes the budgets with their verdicts.
func (r Report) writeLines(page *strings.Builder) {
	fmt.Fprintf(page, "%-22s %9s %9s %9s %9s  %s\n", "BUDGET", "SAMPLES", "P50", "P95", "P99", "VERDICT")
	for _, l := range r.Lines {
		if l.Verdict == Unseen {
			continue
		}
		fmt.Fprintf(page, "%-22s %9d %9s %9s %9s  %s\n", l.Name(), l.Samples,
			short(l.Seconds.P50), short(l.Seconds.P95), short(l.Seconds.P99), l.Verdict)
		fmt.Fprintf(page, "%-22s %9s %9s %9s %9s\n", "  allowed", "", "", limit(l.P95Limit), limit(l.P99Limit))
		if l.Why != "" {
			fmt.Fprintf(page, "  %s: %s\n", l.Verdict, l.Why)
		}
	}
	if names := r.Unseen(); len(names) > 0 {
		writeList(page, append([]string{"not seen: " + names[0]}, names[1:]...))
	}
}

// Unseen names the lines of which nothing was seen.
func (r Report) Unseen() (names []string) {
	for _, l := range r.Lines {
		if l.Verdict == Unseen {
			names = append(names, l.Name())
		}
	}
	return names
}

// Name returns a line's name, such as "sign token" or "express cloud, pool eu".
func (l Line) Name() string {
	name := fmt.Sprintf("%s %s", l.Measure, l.Class)
	if l.Pool != "" {
		name += ", pool " + l.Pool
	}
	return name
}

// writeCoverage writes which spans there are.
func (r Report) writeCoverage(page *strings.Builder) {
	if len(r.Coverage) == 0 {
		return
	}
	fmt.Fprintf(page, "\n%-22s %9s %9s %9s\n", "COVERAGE", "SIGNED", "TRACED", "OF DUE")
	for _, c := range r.Coverage {
		fmt.Fprintf(page, "%-22s %9d %9d %9s\n", c.Name(), c.Signatures, c.Traced, percent(c.Coverage))
	}
}

// Name returns what the coverage is of.
func (c Coverage) Name() string {
	if c.Class == "" {
		return "all signatures"
	}
	return string(c.Class)
}

// write writes where the time of a class's requests went.
func (s Split) write(page *strings.Builder) {
	fmt.Fprintf(page, "\n%-22s %9s %9s %9s %9s  %s\n", "WHERE TIME GOES: "+string(s.Class), "SAMPLES", "P50", "P95", "P99", "SHARE")
	for _, p := range s.Parts {
		row := fmt.Sprintf("%-22s %9d %9s %9s %9s  %5s %s", p.Segment, p.Samples,
			short(p.Seconds.P50), short(p.Seconds.P95), short(p.Seconds.P99), percent(p.Share), bar(p.Share))
		fmt.Fprintln(page, strings.TrimRight(row, " "))
	}
}

// bar draws a share in up to ten characters.
func bar(share float64) string { return strings.Repeat("█", int(share*10+0.5)) }

// writeSlowest writes the slowest requests, each with its trace.
func (r Report) writeSlowest(page *strings.Builder) {
	if len(r.Slowest) == 0 {
		return
	}
	fmt.Fprintf(page, "\n%-22s %9s %9s  %s\n", "SLOWEST", "TOOK", "OF LIMIT", "TRACE")
	for _, s := range r.Slowest {
		fmt.Fprintf(page, "%-22s %9s %9s  %s\n", s.Name(), short(s.Seconds), percent(s.Share), s.Trace)
		writeList(page, s.parts())
	}
}

// Name returns what was slow.
func (s Slow) Name() string { return fmt.Sprintf("%s %s", s.Measure, s.Class) }

// parts lists the segments of a slow request that took most of its time.
func (s Slow) parts() (texts []string) {
	for _, p := range s.Parts {
		if p.Seconds >= s.Seconds/100 {
			texts = append(texts, fmt.Sprintf("%s %s", p.Segment, short(p.Seconds)))
		}
	}
	if s.Code != "" {
		texts = append(texts, string(s.Code))
	}
	return texts
}

// writeList writes texts with commas between them, on as many lines as they need.
func writeList(page *strings.Builder, texts []string) {
	line := " "
	for i, text := range texts {
		if i < len(texts)-1 {
			text += ","
		}
		if len(line)+1+len(text) > 80 {
			fmt.Fprintln(page, line)
			line = " "
		}
		line += " " + text
	}
	fmt.Fprintln(page, line)
}

// writeNotes writes what else there is to know.
func (r Report) writeNotes(page *strings.Builder) {
	for i, e := range r.Errors {
		if i == 0 {
			fmt.Fprintf(page, "\n%-22s %9s  %s\n", "ERRORS", "COUNT", "CODE")
		}
		fmt.Fprintf(page, "%-22s %9d  %s\n", e.Span, e.Count, e.Code)
	}
	for i, note := range r.Notes() {
		if i == 0 {
			page.WriteByte('\n')
		}
		fmt.Fprintf(page, "note: %s\n", note)
	}
}

// Notes says what is odd about what the check was given.
func (r Report) Notes() (notes []string) {
	if r.Skew != nil {
		notes = append(notes, fmt.Sprintf("clocks differ by %s at least; what was timed by two of them is left out", short(r.Skew.Seconds)))
	}
	if n := r.Counts.Unjudged; n > 0 {
		notes = append(notes, fmt.Sprintf("%d signatures are of a class without a budget", n))
	}
	if n := r.Counts.Incomplete; n > 0 {
		notes = append(notes, fmt.Sprintf("of %d requests a span is missing", n))
	}
	return notes
}

// milliseconds returns a duration for people to read.
func milliseconds(d time.Duration) string { return short(d.Seconds()) }

// short returns a number of seconds in three digits or so.
func short(seconds float64) string {
	switch ms := seconds * 1000; {
	case ms >= 99_950:
		return fmt.Sprintf("%.0f s", seconds)
	case ms >= 9_995:
		return fmt.Sprintf("%.1f s", seconds)
	case ms >= 999.5:
		return fmt.Sprintf("%.2f s", seconds)
	case ms >= 99.5:
		return fmt.Sprintf("%.0f ms", ms)
	case ms >= 9.95:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.2f ms", 1000*seconds)
}

// limit returns a limit for people to read.
func limit(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	return "≤ " + short(seconds)
}

// percent returns a share for people to read.
func percent(share float64) string {
	if share != 0 && share < 0.0995 {
		return fmt.Sprintf("%.1f %%", 100*share)
	}
	return fmt.Sprintf("%.0f %%", 100*share)
}
