package latency

import (
	"bytes"
	_ "embed" // of the page
	"fmt"
	"html/template"
	"strings"

	"github.com/capsign/cap/capsign"
)

//go:embed report.html.tmpl
var pageText string

// page is the report for a browser. It refers to nothing outside itself.
var page = template.Must(template.New("report").Funcs(template.FuncMap{
	"short": short, "limit": limit, "percent": percent, "slug": slug, "width": width, "of": of,
	"join": func(names []string) string { return strings.Join(names, ", ") },
}).Parse(pageText))

// HTML returns the report as one page that opens offline.
func (r Report) HTML() ([]byte, error) {
	var out bytes.Buffer
	if err := page.Execute(&out, r); err != nil {
		return nil, capsign.Internal
	}
	return out.Bytes(), nil
}

// slug returns a segment's name as a style's.
func slug(segment Segment) string { return strings.ReplaceAll(string(segment), " ", "-") }

// width returns a share as the width of a bar.
func width(share float64) template.CSS {
	return template.CSS(fmt.Sprintf("%.2f%%", 100*min(max(share, 0), 1))) //nolint:gosec // a number
}

// of returns which share of whole part is.
func of(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return part / whole
}

// Total returns the time of all the parts.
func (s Slow) Total() float64 {
	var total float64
	for _, p := range s.Parts {
		total += p.Seconds
	}
	return total
}

// Longest returns the longest of the slowest requests, in seconds.
func (r Report) Longest() float64 {
	var longest float64
	for _, s := range r.Slowest {
		longest = max(longest, s.Total())
	}
	return longest
}

// Segments returns the segments that the report's splits have, in their order.
func (r Report) Segments() (found []Segment) {
	for _, segment := range segments {
		if r.has(segment) {
			found = append(found, segment)
		}
	}
	return found
}

// has reports whether a split has a segment.
func (r Report) has(segment Segment) bool {
	for _, s := range r.Splits {
		for _, p := range s.Parts {
			if p.Segment == segment {
				return true
			}
		}
	}
	return false
}

// Scale returns how far the bar of a line reaches: to the greater of its longest
// percentile and its longest limit, and a little more.
func (l Line) Scale() float64 {
	return 1.08 * max(l.Seconds.P99, l.Seconds.P95, l.P95Limit, l.P99Limit)
}
