package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/capsign/cap/internal/loadtest"
)

// benchBar is a line on stderr that says how a load test stands; nil where nobody
// sees it.
type benchBar struct {
	bar *progressbar.ProgressBar
}

// newBenchBar returns a bar, or nil where stderr is no terminal.
func (a *app) newBenchBar() *benchBar {
	if !isTerminal(a.stderr) {
		return nil
	}
	return &benchBar{progressbar.NewOptions(1,
		progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetWidth(16), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false), progressbar.OptionClearOnFinish(),
		// No goroutine of the bar's own.
		progressbar.OptionSetSpinnerChangeInterval(0),
	)}
}

// show shows how things stand.
func (b *benchBar) show(p loadtest.Progress) {
	if b == nil {
		return
	}
	total := int(p.Total.Seconds())
	b.bar.ChangeMax(max(total, 1))
	b.bar.Describe(progressText(p))
	_ = b.bar.Set(min(int(p.Elapsed.Seconds()), total-1)) // full, it would end; a terminal that is gone is no reason to fail
}

// progressText says in one line how things stand.
func progressText(p loadtest.Progress) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d/%d s", int(p.Elapsed.Seconds()), int(p.Total.Seconds()))
	if p.Warming {
		return text.String() + ", warming up"
	}
	for _, lane := range p.Lanes {
		fmt.Fprintf(&text, "  %s %s", lane.Lane, lane.Rate)
		if lane.P99 > 0 {
			fmt.Fprintf(&text, " p99 %s ms", lane.P99)
		}
		if lane.Refused > 0 {
			fmt.Fprintf(&text, " %d refused", lane.Refused)
		}
	}
	return text.String()
}

// finish takes the line away.
func (b *benchBar) finish() {
	if b != nil {
		_ = b.bar.Finish()
	}
}
