package loadtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
)

// counter is a pool with one signer, which takes 1 ms for a signature and serves
// whoever came first; it stands still from one instant to another.
type counter struct {
	from, to time.Time

	mu   sync.Mutex
	free time.Time // when the signer is done with what it has
}

// Sign waits until the signer has got round to it.
func (c *counter) Sign(ctx context.Context, _ []byte) (capsign.Signed, error) {
	select {
	case <-time.After(time.Until(c.take())):
		return capsign.Signed{}, nil
	case <-ctx.Done():
		return capsign.Signed{}, capsign.OutcomeUnknown
	}
}

// take returns when a request that comes now is signed.
func (c *counter) take() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	begin := time.Now()
	if begin.Before(c.free) {
		begin = c.free
	}
	if begin.After(c.from) && begin.Before(c.to) {
		begin = c.to
	}
	c.free = begin.Add(time.Millisecond)
	return c.free
}

// SignAll signs one message after the other.
func (c *counter) SignAll(ctx context.Context, items iter.Seq[capsign.Item]) iter.Seq2[capsign.Signed, error] {
	return func(yield func(capsign.Signed, error) bool) {
		for item := range items {
			if !yield(c.Sign(ctx, item.Message)) {
				return
			}
		}
	}
}

// refuser is a pool that refuses each nth signature.
type refuser struct {
	every int64
	code  capsign.Code

	mu sync.Mutex
	n  int64
}

// Sign signs or refuses.
func (r *refuser) Sign(context.Context, []byte) (capsign.Signed, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n++; r.n%r.every == 0 {
		return capsign.Signed{}, fmt.Errorf("pool: %w", r.code)
	}
	return capsign.Signed{}, nil
}

// SignAll signs or refuses each.
func (r *refuser) SignAll(ctx context.Context, items iter.Seq[capsign.Item]) iter.Seq2[capsign.Signed, error] {
	return (&counterOf{r.Sign}).SignAll(ctx, items)
}

// counterOf makes a pool of a function.
type counterOf struct {
	sign func(context.Context, []byte) (capsign.Signed, error)
}

// Sign calls the function.
func (f *counterOf) Sign(ctx context.Context, msg []byte) (capsign.Signed, error) {
	return f.sign(ctx, msg)
}

// SignAll calls the function for each message.
func (f *counterOf) SignAll(ctx context.Context, items iter.Seq[capsign.Item]) iter.Seq2[capsign.Signed, error] {
	return func(yield func(capsign.Signed, error) bool) {
		for item := range items {
			if !yield(f.sign(ctx, item.Message)) {
				return
			}
		}
	}
}

// constant returns n equal steps of a rate on the express lane.
func constant(rates ...float64) Load {
	load := Load{Lane: capsign.Express}
	for _, rate := range rates {
		load.Rates = append(load.Rates, Rate{rate, rate})
	}
	return load
}

// run runs a load test in fake time and fails the test where it cannot be run.
func run(t *testing.T, ctx context.Context, cfg Config) Report {
	t.Helper()
	report, err := Run(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// callInTurn is a load test of the other kind: so many callers that each wait for
// an answer, and a moment more, before they ask again.
func callInTurn(callers int, pool Signer, lasts time.Duration) *tally {
	var running sync.WaitGroup
	var mu sync.Mutex
	seen, ends := newTally(3), time.Now().Add(lasts)
	for range callers {
		running.Go(func() {
			for time.Now().Before(ends) {
				sent := time.Now()
				if _, err := pool.Sign(context.Background(), nil); err != nil {
					panic(err)
				}
				mu.Lock()
				seen.due++
				seen.answer(time.Since(sent))
				mu.Unlock()
				time.Sleep(19 * time.Millisecond)
			}
		})
	}
	running.Wait()
	return seen
}

// TestAStallShows is what this package is for. The pool stands still for 300 ms
// out of 10 s. Of 200 requests per second that come by themselves, 3 in 100 fell
// due meanwhile; four callers that wait in turn, and are as many per second, had
// only their four.
func TestAStallShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		pool := &counter{from: now.Add(5 * time.Second), to: now.Add(5300 * time.Millisecond)}
		report := run(t, t.Context(), Config{
			Signer: pool, Loads: []Load{constant(200)}, Step: 10 * time.Second, Arrivals: Fixed,
		})
		step := report.Lanes[0].Steps[0]
		if step.Requests != 2000 || step.Answered != 2000 {
			t.Fatalf("%d of %d requests answered", step.Answered, step.Requests)
		}
		if step.P99 < 200 || step.Max < 290 || step.P50 > 2 {
			t.Errorf("open loop: p50 %v, p99 %v, max %v ms: the stall does not show", step.P50, step.P99, step.Max)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		pool := &counter{from: now.Add(5 * time.Second), to: now.Add(5300 * time.Millisecond)}
		seen := callInTurn(4, pool, 10*time.Second)
		if seen.due < 1900 || seen.percentile(99) > 5 {
			t.Errorf("closed loop: p99 %v ms of %d: it was to hide the stall", seen.percentile(99), seen.due)
		}
	})
}

func TestRatesFollowEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		report := run(t, t.Context(), Config{
			Signer: &counter{}, Loads: []Load{constant(50, 100, 200)}, Step: 4 * time.Second, Warmup: time.Second, Arrivals: Fixed,
		})
		var requests, seconds []int64
		for _, step := range report.Lanes[0].Steps {
			requests = append(requests, step.Requests)
			if step.Offered != step.Rate.From || math.Abs(step.Throughput-step.Offered) > 1 {
				t.Errorf("at %s: %g offered, %g answered per second", step.Rate, step.Offered, step.Throughput)
			}
		}
		for _, second := range report.Lanes[0].Series {
			seconds = append(seconds, second.Requests)
		}
		if diff := cmp.Diff([]int64{200, 400, 800}, requests); diff != "" {
			t.Errorf("requests due in each step, without the warm-up: %s", diff)
		}
		if diff := cmp.Diff([]int64{50, 50, 50, 50, 100, 100, 100, 100, 200, 200, 200, 200}, seconds); diff != "" {
			t.Errorf("requests due in each second: %s", diff)
		}
	})
}

func TestLanesAreLoadedSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bulk := Load{Lane: capsign.Bulk, Rates: []Rate{{400, 400}}, Pack: 8}
		report := run(t, t.Context(), Config{
			Signer: &refuser{every: math.MaxInt64}, Loads: []Load{constant(100), bulk}, Step: 2 * time.Second, Arrivals: Fixed,
		})
		express, packs := report.Lanes[0].Steps[0], report.Lanes[1].Steps[0]
		if express.Requests != 200 || packs.Requests != 100 {
			t.Errorf("%d and %d requests, want 200 of one signature and 100 of 8", express.Requests, packs.Requests)
		}
		if express.Offered != 100 || packs.Offered != 400 || packs.Throughput != 400 {
			t.Errorf("signatures per second: %g and %g offered, %g answered", express.Offered, packs.Offered, packs.Throughput)
		}
	})
}

// A bound on requests in flight must not turn the loop into one that waits: what
// it holds back is late from when it was due, and what it never lets out counts.
func TestTheBoundHidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		pool := &counter{from: now.Add(2 * time.Second), to: now.Add(2500 * time.Millisecond)}
		report := run(t, t.Context(), Config{
			Signer: pool, Loads: []Load{constant(100)}, Step: 5 * time.Second, Arrivals: Fixed, InFlight: 2,
		})
		step := report.Lanes[0].Steps[0]
		if step.Requests != 500 || step.Answered != 500 || step.Held < 48 || step.Shed != 0 {
			t.Errorf("of %d due %d were answered, %d held, %d shed", step.Requests, step.Answered, step.Held, step.Shed)
		}
		if step.Max < 480 || step.P99 < 400 {
			t.Errorf("p99 %v, max %v ms: what was held back was not timed from when it was due", step.P99, step.Max)
		}
		if late := report.Lanes[0].Generator.Max; late > 1 {
			t.Errorf("the generator blames itself for %v ms", late)
		}
	})
}

func TestWhatIsNeverSentCountsAsNeverAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		pool := &counter{from: now, to: now.Add(time.Minute)}
		report := run(t, t.Context(), Config{
			Signer: pool, Loads: []Load{constant(100)}, Step: 5 * time.Second, Arrivals: Fixed, InFlight: 10,
			Budget: []Limit{{Percent: 95, Within: time.Second}},
		})
		step := report.Lanes[0].Steps[0]
		if step.Requests != 500 || step.Answered+step.Shed != 500 || step.Answered > 11 || step.P50 != 0 || step.Throughput > 1 {
			t.Errorf("of %d due %d were answered and %d shed; p50 %v ms", step.Requests, step.Answered, step.Shed, step.P50)
		}
		if err := report.Judge(); !errors.Is(err, capsign.BudgetExceeded) {
			t.Errorf("the budget: %v", err)
		}
	})
}

func TestRefusalsAreCountedByCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		report := run(t, t.Context(), Config{
			Signer: &refuser{every: 50, code: capsign.Throttled}, Loads: []Load{constant(1000)}, Step: 2 * time.Second,
			Arrivals: Fixed, Budget: []Limit{{Percent: 99, Within: time.Second}, {Percent: 95, Within: time.Second}},
		})
		step := report.Lanes[0].Steps[0]
		if diff := cmp.Diff(map[capsign.Code]int64{capsign.Throttled: 40}, step.Refused); diff != "" {
			t.Error(diff)
		}
		if step.Answered != 1960 || step.P95 == 0 || step.P99 != 0 {
			t.Errorf("%d answered, p95 %v, p99 %v ms: 2 in 100 were refused", step.Answered, step.P95, step.P99)
		}
		if report.Budget[0].Verdict != Exceeded || report.Budget[1].Verdict != Held {
			t.Errorf("findings: %+v", report.Budget)
		}
	})
}

func TestAPackWithOneRefusalIsNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		report := run(t, t.Context(), Config{
			Signer: &refuser{every: 8, code: capsign.ProviderDenied},
			Loads:  []Load{{Lane: capsign.Bulk, Rates: []Rate{{80, 80}}, Pack: 4}}, Step: time.Second, Arrivals: Fixed,
		})
		step := report.Lanes[0].Steps[0]
		if step.Requests != 20 || step.Answered != 10 || step.Refused[capsign.ProviderDenied] != 10 || step.Throughput != 70 {
			t.Errorf("%+v", step.Totals)
		}
	})
}

func TestAnInterruptEndsEarlyAndReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		time.AfterFunc(3500*time.Millisecond, interrupt)
		began := time.Now()
		pool := &counter{from: began.Add(3400 * time.Millisecond), to: began.Add(time.Hour)}
		report := run(t, ctx, Config{
			Signer: pool, Loads: []Load{constant(100, 200)}, Step: 3 * time.Second, Arrivals: Fixed, Grace: time.Second,
		})
		if took := time.Since(began); took != 4500*time.Millisecond {
			t.Errorf("it took %s: 3.5 s and a grace of 1 s", took)
		}
		steps := report.Lanes[0].Steps
		if !report.Interrupted || len(steps) != 2 || steps[0].Answered != 300 || steps[1].Seconds != 0.5 {
			t.Fatalf("%+v", report)
		}
		if last := steps[1]; last.Requests < 100 || last.Requests > 101 || last.Cut < 19 || last.Answered+last.Cut != last.Requests || last.RefusedTotal() != 0 {
			t.Errorf("the step that was interrupted: %+v", last.Totals)
		}
		if n := len(report.Lanes[0].Series); n != 4 {
			t.Errorf("%d seconds in the series", n)
		}
	})
}

func TestAnInterruptThatNothingWaitsForEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, interrupt)
		began := time.Now()
		report := run(t, ctx, Config{Signer: &counter{}, Loads: []Load{constant(0.01)}, Step: time.Hour, Arrivals: Fixed})
		if took := time.Since(began); took > 1001*time.Millisecond || !report.Interrupted {
			t.Errorf("it took %s", took)
		}
	})
}

func TestProgressIsToldEachSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []Progress
		run(t, t.Context(), Config{
			Signer: &counter{}, Loads: []Load{constant(10, 20)}, Step: 2 * time.Second, Warmup: 1500 * time.Millisecond,
			Arrivals: Fixed, Progress: func(p Progress) { told = append(told, p) },
		})
		if len(told) != 5 || !told[0].Warming || told[4].Warming || told[4].Lanes[0].Rate.From != 20 {
			t.Fatalf("%+v", told)
		}
		if last := told[4]; last.Total != 5500*time.Millisecond || last.Lanes[0].Requests < 29 || last.Lanes[0].P99 == 0 {
			t.Errorf("%+v", last)
		}
	})
}

func TestMessagesDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		seen := make(map[string]bool)
		pool := &counterOf{func(_ context.Context, msg []byte) (capsign.Signed, error) {
			mu.Lock()
			defer mu.Unlock()
			if seen[string(msg)] || len(msg) != 20 {
				return capsign.Signed{}, capsign.BadRequest
			}
			seen[string(msg)] = true
			return capsign.Signed{}, nil
		}}
		report := run(t, t.Context(), Config{
			Signer: pool, Loads: []Load{constant(200)}, Step: time.Second, Size: 20,
		})
		if step := report.Lanes[0].Steps[0]; step.RefusedTotal() != 0 || step.Answered == 0 {
			t.Errorf("%+v", step.Totals)
		}
	})
}

func TestLoadsThatCannotBe(t *testing.T) {
	sound := Config{Loads: []Load{constant(10)}, Step: time.Second}
	if err := sound.Check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no load":          func(c *Config) { c.Loads = nil },
		"no step":          func(c *Config) { c.Step = 0 },
		"warm-up":          func(c *Config) { c.Warmup = -1 },
		"too long":         func(c *Config) { c.Warmup = MaxDuration },
		"far too long":     func(c *Config) { c.Step = math.MaxInt64 },
		"in flight":        func(c *Config) { c.InFlight = -1 },
		"size":             func(c *Config) { c.Size = capsign.MaxMessageSize + 1 },
		"arrivals":         func(c *Config) { c.Arrivals = "now and then" },
		"lane":             func(c *Config) { c.Loads[0].Lane = "slow" },
		"express pack":     func(c *Config) { c.Loads[0].Pack = 2 },
		"too large a pack": func(c *Config) { c.Loads[0].Lane, c.Loads[0].Pack = capsign.Bulk, capsign.MaxItems+1 },
		"too much":         func(c *Config) { c.Loads[0].Lane, c.Loads[0].Pack, c.Size = capsign.Bulk, 1024, 1024 },
		"no rates":         func(c *Config) { c.Loads[0].Rates = nil },
		"uneven":           func(c *Config) { c.Loads = append(c.Loads, constant(1, 2)) },
		"no rate":          func(c *Config) { c.Loads[0].Rates[0].To = 0 },
		"NaN":              func(c *Config) { c.Loads[0].Rates[0].From = math.NaN() },
		"too fast":         func(c *Config) { c.Loads[0].Rates[0].To = MaxRate + 1 },
	} {
		cfg := Config{Loads: []Load{constant(10)}, Step: time.Second}
		spoil(&cfg)
		if report, err := Run(t.Context(), cfg); !errors.Is(err, capsign.BadRequest) || report.Lanes != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
