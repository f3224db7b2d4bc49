package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// pace says how long things are measured.
type pace struct {
	rounds int           // every row is measured once in each
	raw    time.Duration // signing without a queue, before and after
	warm   time.Duration // load before it counts
	window time.Duration // what counts
	tries  int           // repetitions of a round whose raw figures differ
	// backlog is how many bulk items are queued where many are, keys how many key
	// versions a pool has where there are many, and workers how many serve it.
	backlog, keys, workers int
	// ackWait is after how long a lost worker's bulk requests are delivered again.
	ackWait time.Duration
	// patience is after how long such rounds are kept instead of repeated.
	patience time.Duration
}

// The paces of a complete and of a quick run.
var (
	full = pace{
		rounds: 3, raw: 400 * time.Millisecond, warm: 300 * time.Millisecond,
		window: 1500 * time.Millisecond, tries: 3, patience: 10 * time.Minute,
		backlog: 1_000_000, keys: 1000, workers: 8, ackWait: 5 * time.Second,
	}
	quick = pace{
		rounds: 1, raw: 50 * time.Millisecond, warm: 50 * time.Millisecond,
		window: 200 * time.Millisecond, tries: 1,
		backlog: 20_000, keys: 20, workers: 2, ackWait: time.Second,
	}
)

// bench is one run.
type bench struct {
	cfg   settings
	log   io.Writer
	raw   *rawSigner
	begun time.Time
	dir   string // empty, gone afterwards
	// programs are what rows start.
	programs *programs
}

// pass is what measuring a row needs, once.
type pass struct {
	pace     pace
	messages [][]byte
	dir      string // empty, gone afterwards
	procs    int    // GOMAXPROCS of other processes
	waiting  int    // and where a worker waits for its signatures
	profiles string // directory for those of other processes; empty means none
	part     string // which of a row's measurements; empty where there is one
	profiler func(part string) (stop func(), _ error)
	programs *programs
}

// result is what all rounds of a row gave.
type result struct {
	row       row
	samples   []figures
	discarded int    // rounds that were measured again
	unsteady  int    // rounds kept although their raw figures differ
	skipped   string // why the row was not measured
}

// rowLimit is after how long a row that does not end by itself is ended.
const rowLimit = 2 * time.Minute

// errSkip is wrapped by a measurement that cannot be made on this machine.
var errSkip = errors.New("not measured")

// newBench returns a run with a fresh key and messages.
func newBench(cfg settings, log io.Writer) (*bench, error) {
	raw, err := newRawSigner(cfg.size)
	if err != nil {
		return nil, err
	}
	if cfg.profiles != "" {
		if err := os.MkdirAll(cfg.profiles, 0o750); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "cap-bench-")
	if err != nil {
		return nil, err
	}
	return &bench{cfg: cfg, log: log, raw: raw, begun: time.Now(), dir: dir, programs: newPrograms(dir)}, nil
}

// close removes what the run has left on disk.
func (b *bench) close() error { return os.RemoveAll(b.dir) }

// measure goes through all rows in lock-step, round by round, so that what
// disturbs the machine for a while disturbs all of them.
func (b *bench) measure(ctx context.Context) ([]*result, error) {
	var results []*result
	for _, r := range rows() {
		if len(b.cfg.rows) == 0 || slices.Contains(b.cfg.rows, r.id) {
			results = append(results, &result{row: r})
		}
	}
	for round := range b.cfg.pace.rounds {
		for _, res := range results {
			if err := b.repeat(ctx, res, round); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", res.row.id, res.row.what, err)
			}
		}
	}
	for _, res := range results {
		// Under strace everything is slow; a count that fails is a figure less.
		if err := b.countFsyncs(ctx, res); err != nil {
			fmt.Fprintf(b.log, "%s, %s: fsyncs not counted: %v\n", res.row.id, res.row.what, err)
		}
	}
	return results, ctx.Err()
}

// repeat measures one round of a row, again where the raw figures before and
// after show that the machine was not the same throughout.
func (b *bench) repeat(ctx context.Context, res *result, round int) error {
	for try := 1; res.skipped == ""; try++ {
		sample, steady, err := b.once(ctx, res.row, round)
		if errors.Is(err, errSkip) {
			res.skipped = err.Error()
			return nil
		}
		if err != nil {
			return err
		}
		if !steady && try < b.cfg.pace.tries && time.Since(b.begun) < b.cfg.pace.patience {
			res.discarded++
			continue
		}
		if !steady {
			res.unsteady++
		}
		res.samples = append(res.samples, sample)
		return nil
	}
	return nil
}

// once measures a row between two measurements of raw.
func (b *bench) once(ctx context.Context, r row, round int) (_ figures, steady bool, err error) {
	dir, err := os.MkdirTemp(b.dir, "row-")
	if err != nil {
		return nil, false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx, cancel := context.WithTimeout(ctx, rowLimit)
	defer cancel()
	p := b.pass(dir)
	p.profiler = func(part string) (func(), error) { return startProfile(b.cfg.profiles, r, part, round) }

	before, cpuBefore, err := b.raw.measure(b.cfg.pace.raw)
	if err != nil {
		return nil, false, err
	}
	sample, err := r.measure(ctx, p)
	if err != nil {
		return nil, false, err
	}
	after, cpuAfter, err := b.raw.measure(b.cfg.pace.raw)
	if err != nil {
		return nil, false, err
	}
	sample[rawRate], sample[rawCPU] = (before+after)/2, (cpuBefore+cpuAfter)/2
	if rate, ok := sample[perSecond]; ok {
		sample[ofRaw] = rate / sample[rawRate]
	}
	if rate := sample[perSecond]; rate > 0 {
		sample[ofRawCPU] = sample[rawCPU] / sample[cpu]
	}
	steady = max(before, after) <= 1.2*min(before, after)
	b.report(r, round, sample, steady)
	return sample, steady, nil
}

// pass returns what a measurement in dir needs.
func (b *bench) pass(dir string) *pass {
	nothing := func(string) (func(), error) { return func() {}, nil }
	return &pass{
		pace: b.cfg.pace, messages: b.raw.messages, dir: dir, procs: b.cfg.procs, waiting: b.cfg.waiting,
		profiles: b.cfg.profiles, profiler: nothing, programs: b.programs,
	}
}

// in returns a pass in a directory of its own below p's, which is made with the
// first file.
func (p *pass) in(name string) *pass {
	below := *p
	below.dir, below.part = filepath.Join(p.dir, name), filepath.Join(p.part, name)
	return &below
}

// profile brackets what counts of a measurement.
func (p *pass) profile() (stop func(), _ error) { return p.profiler(p.part) }

// report tells whoever waits how a round went.
func (b *bench) report(r row, round int, sample figures, steady bool) {
	note := ""
	if !steady {
		note = " (raw differs by more than 20 %)"
	}
	fmt.Fprintf(b.log, "%4.0fs round %d %-8s %-42s %-6s", time.Since(b.begun).Seconds(), round+1, r.id, r.what, r.sync)
	for _, f := range order {
		if v, ok := sample[f]; ok {
			fmt.Fprintf(b.log, "  %s %s", f, f.format(v))
		}
	}
	fmt.Fprintln(b.log, note)
}
