package cli

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progressEvery is how often a line says how far many files are where stderr is
// no terminal.
const progressEvery = 5 * time.Second

// batchProgress shows on stderr how far many files are: on a terminal as a bar,
// elsewhere as a line now and then.
type batchProgress struct {
	verb  string
	total int
	bar   *progressbar.ProgressBar // nil where there is no terminal

	mu                     sync.Mutex
	done, refused, already int
	began                  time.Time

	stop    chan struct{}
	stopped sync.WaitGroup
}

// newBatchProgress begins to show the progress of so many files, some of which
// are done already. Its caller calls finish.
func (a *app) newBatchProgress(verb string, total, done int) *batchProgress {
	p := &batchProgress{verb: verb, total: total, done: done, already: done, began: time.Now(), stop: make(chan struct{})}
	if isTerminal(a.stderr) {
		p.bar = progressbar.NewOptions(total-done,
			progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetDescription(verb),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("files"),
			progressbar.OptionSetWidth(25), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true),
			progressbar.OptionSetSpinnerChangeInterval(0), // no goroutine of the bar's own
		)
		_ = p.bar.RenderBlank() // a terminal that takes nothing is no reason to fail
		return p
	}
	p.stopped.Go(func() { p.speak(a.stderr) })
	return p
}

// add counts one more file.
func (p *batchProgress) add(refused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	if refused {
		p.refused++
	}
	if p.bar == nil {
		return
	}
	if refused {
		p.bar.Describe(fmt.Sprintf("%s, %d refused", p.verb, p.refused))
	}
	_ = p.bar.Add(1)
}

// speak writes a line now and then until finish is called.
func (p *batchProgress) speak(to io.Writer) {
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-ticker.C:
			fmt.Fprintln(to, p.line(time.Now()))
		}
	}
}

// line says how far it is.
func (p *batchProgress) line(now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	rate := float64(p.done-p.already) / max(now.Sub(p.began).Seconds(), 0.001)
	line := fmt.Sprintf("%s: %d of %d files, %d refused, %.0f/s", p.verb, p.done, p.total, p.refused, rate)
	if rate > 0 {
		left := time.Duration(float64(p.total-p.done) / rate * float64(time.Second))
		line += ", about " + left.Round(time.Second).String() + " left"
	}
	return line
}

// finish takes the bar away.
func (p *batchProgress) finish() {
	close(p.stop)
	p.stopped.Wait()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
