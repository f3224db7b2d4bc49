package cli

import (
	"fmt"
	"strings"

	"github.com/capsign/cap/internal/loadtest"
)

// benchText lays a report out for a terminal of 80 columns.
func benchText(r loadtest.Report) string {
	var page strings.Builder
	writeSetup(&page, r)
	for _, lane := range r.Lanes {
		page.WriteByte('\n')
		writeLane(&page, lane)
	}
	if len(r.Budget) > 0 {
		page.WriteByte('\n')
		for _, finding := range r.Budget {
			line(&page, string(finding.Verdict), "budget of "+finding.String())
		}
	}
	return page.String()
}

// writeSetup writes what was measured with what.
func writeSetup(page *strings.Builder, r loadtest.Report) {
	s := r.Setup
	line(page, "pool", fmt.Sprintf("%s, key %s", s.Pool, s.Key))
	line(page, "provider", s.SignerText())
	line(page, "worker", s.WorkersText())
	line(page, "broker", fmt.Sprintf("nats-server %s, on %s", s.Broker, placeText(s.BrokerHere)))
	line(page, "client", s.ClientText())
	line(page, "load", r.LoadText())
	if r.Interrupted {
		line(page, "interrupted", "what follows is what there was by then")
	}
}

// placeText is a place after "on".
func placeText(place loadtest.Place) string {
	if place == loadtest.PlaceUnknown {
		return "a machine that is not known"
	}
	return string(place)
}

// row lays out one line of a lane's table.
const row = "  %-12s %8s %8s %6s %6s %6s %6s %6s %6s %5s\n"

// writeLane writes a lane's table and what went wrong.
func writeLane(page *strings.Builder, lane loadtest.Lane) {
	fmt.Fprintf(page, "%s lane, %s; milliseconds from when each was due\n", lane.Lane, lane.PackText())
	fmt.Fprintf(page, row, "rate/s", "offered", "answered", "p50", "p90", "p95", "p99", "p99.9", "max", "lost")
	for _, step := range lane.Steps {
		fmt.Fprintf(page, row, strings.TrimSuffix(step.Rate.String(), "/s"), short(step.Offered), short(step.Throughput),
			step.P50, step.P90, step.P95, step.P99, step.P999, step.Max, short(float64(step.Requests-step.Answered)))
	}
	for _, step := range lane.Steps {
		for _, trouble := range step.Troubles() {
			line(page, "", step.Rate.String()+": "+trouble)
		}
	}
	line(page, "", lane.GeneratorText())
}

// short writes a number in no more than seven characters.
func short(n float64) string {
	switch {
	case n >= 100 || n == float64(int64(n)):
		return fmt.Sprintf("%.0f", n)
	case n >= 10:
		return fmt.Sprintf("%.1f", n)
	}
	return fmt.Sprintf("%.2f", n)
}
