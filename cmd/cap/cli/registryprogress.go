package cli

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress is a bar on stderr that shows how many of many are done; nil where
// nobody sees it.
type progress struct {
	bar *progressbar.ProgressBar
}

// newProgress returns a bar for so many artifacts, or for a number that is not
// known, -1. There is none for a single one, nor where stderr is no terminal.
func (a *app) newProgress(total int) *progress {
	if total == 1 || !isTerminal(a.stderr) {
		return nil
	}
	return &progress{progressbar.NewOptions(total,
		progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetDescription("signing"),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("artifacts"),
		progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
		// No goroutine of the bar's own: Clear is not made to meet one.
		progressbar.OptionSetSpinnerChangeInterval(0),
	)}
}

// around takes the bar away while a line is printed, and shows it with one more
// done. A terminal that takes no more output is no reason to fail.
func (p *progress) around(printLine func() error) error {
	if p == nil {
		return printLine()
	}
	_ = p.bar.Clear()
	err := printLine()
	_ = p.bar.Add(1)
	return err
}

// finish takes the bar away.
func (p *progress) finish() {
	if p != nil {
		_ = p.bar.Finish()
	}
}
