// Package loadtest puts a pool under open-loop load and says how it did.
//
// Open loop means that requests are due at instants which were settled before
// the first was sent: whether earlier ones have been answered changes nothing
// about when the next is due, and each is timed from the instant it was due, not
// from when it was sent. A pool that stands still for 300 ms is then slow for
// every request that fell due meanwhile, as it would be for as many people. A
// loop of callers that wait for their answers would send nothing while the pool
// stands still and hide it.
//
// Percentiles are over all requests that were due. One that was refused or never
// answered counts as slower than any other.
package loadtest

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/capsign/cap/capsign"
)

const (
	// MaxRate is the most signatures per second that a [Rate] may ask for.
	MaxRate = 1_000_000
	// MaxDuration bounds a run, warm-up included.
	MaxDuration = time.Hour
	// MaxInFlight is the largest bound on requests in flight.
	MaxInFlight = 65_536
)

// ErrTooLong is what is wrong with a configuration of more than [MaxDuration].
var ErrTooLong = fmt.Errorf("loadtest: longer than %s: %w", MaxDuration, capsign.BadRequest)

// Signer is what is put under load; [capsign.Client] is one.
type Signer interface {
	// Sign signs one message on the express lane.
	Sign(ctx context.Context, msg []byte) (capsign.Signed, error)
	// SignAll signs messages on the bulk lane and yields one outcome for each.
	SignAll(ctx context.Context, items iter.Seq[capsign.Item]) iter.Seq2[capsign.Signed, error]
}

// Load is what is asked of one lane.
type Load struct {
	// Lane is the lane.
	Lane capsign.Lane
	// Rates follow each other, each for [Config.Step].
	Rates []Rate
	// Pack is how many signatures one request asks for; a request is due each
	// time as many signatures would be. Zero means 1, which is all that the
	// express lane takes.
	Pack int
}

// Config says what to do with a pool.
type Config struct {
	// Signer is what is put under load. On the bulk lane it is given [Load.Pack]
	// messages at a time.
	Signer Signer
	// Loads are put on the pool side by side, one for each lane. All have equally
	// many rates.
	Loads []Load
	// Step is how long each rate is kept up.
	Step time.Duration
	// Warmup is how long the first rates are kept up before anything counts; zero
	// means not at all.
	Warmup time.Duration
	// Arrivals says how requests fall due; empty means [Poisson].
	Arrivals Arrivals
	// InFlight is the most requests of a lane that are unanswered at a time; zero
	// means 1024. Where that many are, the next one is sent late and counts as
	// held: it is timed from when it was due all the same.
	InFlight int
	// Size is how many bytes each message has; all differ from 8 bytes on.
	Size int
	// Budget is what the percentiles of each step are held to; it may be empty.
	Budget []Limit
	// Grace is how long an interrupted run waits for what is in flight; zero means
	// 2 seconds.
	Grace time.Duration
	// Wait blocks until an instant, or until ctx ends. Nil means a timer of the
	// runtime's, which may be a millisecond late where the process is idle;
	// [KernelWait] is not.
	Wait func(ctx context.Context, until time.Time)
	// Progress, if any, is told once a second how things stand, by one goroutine.
	Progress func(Progress)
}

// Check reports what is wrong with the configuration; the error wraps
// [capsign.BadRequest].
func (c Config) Check() error {
	fault := func(format string, args ...any) error {
		return fmt.Errorf("loadtest: "+format+": %w", append(args, capsign.BadRequest)...)
	}
	switch {
	case len(c.Loads) == 0:
		return fault("no lane is loaded")
	case c.Step <= 0 || c.Warmup < 0 || c.Step > MaxDuration || c.Warmup > MaxDuration:
		return fault("a step of %s after a warm-up of %s", c.Step, c.Warmup)
	case c.duration() > MaxDuration:
		return ErrTooLong
	case c.InFlight < 0 || c.InFlight > MaxInFlight:
		return fault("%d requests in flight", c.InFlight)
	case c.Size < 0 || c.Size > capsign.MaxMessageSize:
		return fault("messages of %d bytes", c.Size)
	case c.Arrivals != "" && c.Arrivals != Poisson && c.Arrivals != Fixed:
		return fault("arrivals %q", c.Arrivals)
	}
	for _, load := range c.Loads {
		if err := load.check(c); err != nil {
			return fault("lane %s: %w", load.Lane, err)
		}
	}
	return nil
}

// check reports what is wrong with a load of cfg's.
func (l Load) check(cfg Config) error {
	pack := cmp.Or(l.Pack, 1)
	switch {
	case l.Lane != capsign.Express && l.Lane != capsign.Bulk:
		return fmt.Errorf("no such lane")
	case pack < 1 || pack > capsign.MaxItems || l.Lane == capsign.Express && pack > 1:
		return fmt.Errorf("%d signatures in a request", pack)
	case pack*encodedSize(cfg.Size) > encodedSize(capsign.MaxMessageSize):
		return fmt.Errorf("%d messages of %d bytes do not fit into a request", pack, cfg.Size)
	case len(l.Rates) == 0 || len(l.Rates) != len(cfg.Loads[0].Rates):
		return fmt.Errorf("%d rates", len(l.Rates))
	}
	for _, rate := range l.Rates {
		if err := rate.check(); err != nil {
			return err
		}
	}
	return nil
}

// encodedSize is how long a message of n bytes is in a request's body.
func encodedSize(n int) int { return base64.StdEncoding.EncodedLen(n) + len(`"",`) }

// duration returns how long requests fall due.
func (c Config) duration() time.Duration {
	if len(c.Loads) == 0 {
		return 0
	}
	return c.Warmup + time.Duration(len(c.Loads[0].Rates))*c.Step
}

// withDefaults returns c with its zero values replaced.
func (c Config) withDefaults() Config {
	c.Arrivals = cmp.Or(c.Arrivals, Poisson)
	c.InFlight = cmp.Or(c.InFlight, 1024)
	c.Grace = cmp.Or(c.Grace, 2*time.Second)
	if c.Wait == nil {
		c.Wait = timerWait
	}
	return c
}

// Run puts the load on and returns the report once all requests have ended.
// Where ctx ends first, no more requests are sent, those in flight are given
// [Config.Grace] to be answered, and the report, which says so, covers what fell
// due until then. The error is that of [Config.Check]; refusals are in the
// report.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if err := cfg.Check(); err != nil {
		return Report{}, err
	}
	cfg = cfg.withDefaults()
	began := time.Now()
	calls, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var generators []*generator
	for i, load := range cfg.Loads {
		generators = append(generators, newGenerator(cfg, load, began, uint64(i)))
	}
	var running, watching sync.WaitGroup
	ended := make(chan struct{})
	watching.Go(func() { cutLate(ctx, ended, cfg.Grace, cut) })
	watching.Go(func() { watch(cfg, generators, began, ended) })
	for _, g := range generators {
		running.Go(func() { g.run(ctx, calls) })
	}
	running.Wait()
	close(ended)
	watching.Wait()
	return newReport(ctx, cfg, generators, began), nil
}

// cutLate ends the calls of an interrupted run that outlive its grace.
func cutLate(ctx context.Context, ended <-chan struct{}, grace time.Duration, cut func()) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	select {
	case <-ended:
	case <-time.After(grace):
		cut()
	}
}
