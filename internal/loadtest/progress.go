package loadtest

import (
	"time"

	"github.com/capsign/cap/capsign"
)

// Progress says how a run stands.
type Progress struct {
	// Elapsed is how long the run has been going on, of Total.
	Elapsed, Total time.Duration
	// Warming says that nothing counts yet.
	Warming bool
	// Lanes are those that are loaded.
	Lanes []LaneProgress
}

// LaneProgress says how one lane stands.
type LaneProgress struct {
	Lane capsign.Lane
	// Rate is the one that is kept up now.
	Rate Rate
	// Requests have been due in this step so far, of which Unanswered are still in
	// flight or never will be.
	Requests, Unanswered int64
	// P99 is that of the requests answered in this step; 0 where none is.
	P99 Millis
	// Refused is how many signatures have been refused since the run began.
	Refused int64
}

// watch tells cfg.Progress once a second how things stand, until ended is closed.
func watch(cfg Config, generators []*generator, began time.Time, ended <-chan struct{}) {
	if cfg.Progress == nil {
		return
	}
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	for {
		select {
		case <-ended:
			return
		case <-beat.C:
			cfg.Progress(progress(cfg, generators, time.Since(began)))
		}
	}
}

// progress says how a run stands after so long.
func progress(cfg Config, generators []*generator, elapsed time.Duration) Progress {
	p := Progress{Elapsed: elapsed, Total: cfg.duration(), Warming: elapsed < cfg.Warmup}
	for _, g := range generators {
		step := min(int(max(elapsed-cfg.Warmup, 0)/cfg.Step), len(g.load.Rates)-1)
		p.Lanes = append(p.Lanes, g.record.progress(g.load, step))
	}
	return p
}

// progress says how a lane stands in a step.
func (r *record) progress(load Load, step int) LaneProgress {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.steps[step]
	p := LaneProgress{Lane: load.Lane, Rate: load.Rates[step], Requests: t.due, Unanswered: t.due - t.answered}
	if wait, ok := t.ranked(rank(99, t.answered)); ok {
		p.P99 = millis(wait)
	}
	for _, t := range r.steps {
		for _, n := range t.refused {
			p.Refused += n
		}
	}
	return p
}
