package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/capsign/cap/capsign"
)

// statusText lays pools out for a terminal of 80 columns, as of now.
func statusText(pools []poolStatus, now time.Time) string {
	var page strings.Builder
	for i, pool := range pools {
		if i > 0 {
			page.WriteByte('\n')
		}
		pool.write(&page, now)
	}
	return page.String()
}

// write writes a pool's lines.
func (s poolStatus) write(page *strings.Builder, now time.Time) {
	s.writeState(page)
	line(page, "since", s.Since.Format(time.RFC3339)+" ("+ago(now.Sub(s.Since))+")")
	line(page, "workers", workersText(s.Workers))
	for _, name := range slices.Sorted(maps.Keys(s.Current)) {
		line(page, "current kid", s.Current[name])
		if len(s.Current) > 1 {
			line(page, "", "of the key "+name)
		}
	}
}

// writeState writes what a pool is bound to, and whether it takes requests.
func (p poolSummary) writeState(page *strings.Builder) {
	line(page, "pool", p.Pool)
	if p.Fallback {
		page.WriteString(fallbackNote)
	}
	provider := p.Provider
	if note := providerNotes[provider]; note != "" {
		provider += " (" + note + ")"
	}
	line(page, "provider", provider)
	switch {
	case p.Code != "":
		writePaused(page, p.Pool, p.Code, p.ResumedBy)
	case p.LoggedIn == nil:
		line(page, "state", string(p.State))
	case *p.LoggedIn:
		line(page, "state", string(p.State)+" (logged in)")
	default:
		line(page, "state", string(p.State)+" (no worker is logged in)")
	}
}

// fallbackNote is what a pool's lines say of a fallback.
const fallbackNote = "FALLBACK: signing with a software key\n"

// writePaused writes why a pool is paused and who may start it again.
func writePaused(page *strings.Builder, pool string, code capsign.Code, by resumer) {
	line(page, "state", string(capsign.PoolPaused)+" ("+string(code)+")")
	line(page, "", code.Sentence())
	switch by {
	case byOperator:
		line(page, "resume", "an operator: cap pool resume "+pool)
	case byItself:
		line(page, "resume", "comes back by itself")
	default:
		line(page, "resume", "comes back when a worker starts")
	}
}

// workersText says how many workers run and in which states.
func workersText(workers []workerSummary) string {
	switch {
	case workers == nil:
		return "not known: the broker does not let you ask"
	case len(workers) == 0:
		return "none running; 'systemctl start cap-worker' or 'worker' starts one"
	}
	counts := make(map[string]int)
	for _, w := range workers {
		state := string(w.State)
		if w.Code != "" {
			state += " (" + string(w.Code) + ")"
		}
		counts[state]++
	}
	var states []string
	for _, state := range slices.Backward(slices.Sorted(maps.Keys(counts))) { // ready before paused
		states = append(states, fmt.Sprintf("%d %s", counts[state], state))
	}
	return fmt.Sprintf("%d running: %s", len(workers), strings.Join(states, ", "))
}

// ago says how long ago something was.
func ago(d time.Duration) string {
	switch {
	case d < -time.Minute:
		return "in the future"
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	}
	return fmt.Sprintf("%d days ago", d/(24*time.Hour))
}
