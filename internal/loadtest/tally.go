package loadtest

import (
	"math"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/capsign/cap/capsign"
)

// longest is what every longer time counts as.
const longest = time.Hour

// tally is what became of the requests that fell due in some stretch of time.
type tally struct {
	due      int64 // requests
	answered int64 // requests, each signature of which was made
	held     int64 // requests that were sent late, as too many were in flight
	shed     int64 // requests that were never sent, for the same reason
	cut      int64 // requests that an interrupt ended
	refused  map[capsign.Code]int64
	waits    *hdrhistogram.Histogram // microseconds, of the requests answered

	// signed is how many signatures came in that stretch of time, whenever they
	// were due.
	signed int64
}

// newTally returns an empty tally whose times keep so many significant figures.
func newTally(figures int) *tally {
	return &tally{
		refused: make(map[capsign.Code]int64),
		waits:   hdrhistogram.New(1, longest.Microseconds(), figures),
	}
}

// answer enters a request that was answered.
func (t *tally) answer(wait time.Duration) {
	t.answered++
	_ = t.waits.RecordValue(min(max(wait.Microseconds(), 1), longest.Microseconds())) // within range
}

// refuse enters the codes that signatures of a request were refused with.
func (t *tally) refuse(codes []capsign.Code) {
	for _, code := range codes {
		t.refused[code]++
	}
}

// rank returns which of n values in ascending order is their percentile, from 1.
func rank(percent float64, n int64) int64 {
	return min(max(int64(math.Ceil(percent/100*float64(n)-1e-6)), 1), n)
}

// percentile returns the time within which so many in a hundred of the requests
// due were answered, or 0 where that many never were.
func (t *tally) percentile(percent float64) Millis {
	if t.due == 0 {
		return 0
	}
	wait, ok := t.ranked(rank(percent, t.due))
	if !ok {
		return 0
	}
	return millis(wait)
}

// ranked returns the k-th shortest time, from 1; false where no more than k-1
// requests were answered.
func (t *tally) ranked(k int64) (time.Duration, bool) {
	if k < 1 || k > t.answered {
		return 0, false
	}
	// The middle of the k-th request's share of the hundred.
	at := 100 * (float64(k) - 0.5) / float64(t.answered)
	return time.Duration(t.waits.ValueAtQuantile(at)) * time.Microsecond, true
}

// slowest returns the k-th longest time of the requests due; false where it was
// never answered. Where fewer than k were due it is 0.
func (t *tally) slowest(k int64) (time.Duration, bool) {
	if k > t.due {
		return 0, true
	}
	return t.ranked(t.due - k + 1)
}

// record is what became of a lane's requests, by step and by interval. It is safe
// for concurrent use.
type record struct {
	began    time.Time // of what counts
	step     time.Duration
	interval time.Duration

	mu        sync.Mutex
	steps     []*tally
	intervals []*tally                // nil where nothing has happened
	late      *hdrhistogram.Histogram // microseconds that the generator itself was late
}

// newRecord returns an empty record.
func newRecord(cfg Config, began time.Time) *record {
	steps := len(cfg.Loads[0].Rates)
	r := &record{
		began: began.Add(cfg.Warmup), step: cfg.Step, interval: cfg.interval(),
		late: hdrhistogram.New(1, longest.Microseconds(), 3),
	}
	for range steps {
		r.steps = append(r.steps, newTally(3))
	}
	total := cfg.Step * time.Duration(steps)
	r.intervals = make([]*tally, (total+r.interval-1)/r.interval)
	return r
}

// maxIntervals bounds what a run keeps over time.
const maxIntervals = 600

// interval returns what the time series counts in: seconds, or as many at a time
// as keep the series short.
func (c Config) interval() time.Duration {
	total := c.Step * time.Duration(len(c.Loads[0].Rates))
	return max(total/maxIntervals, time.Second).Round(time.Second)
}

// note has f enter something into the tallies of a request; it does nothing for
// the warm-up's.
func (r *record) note(a arrival, due time.Time, f func(*tally)) {
	if a.step == warming {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r.steps[a.step])
	f(r.intervalAt(due))
}

// noteSigned enters signatures that have just come.
func (r *record) noteSigned(now time.Time, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	since := now.Sub(r.began)
	if since < 0 || since >= r.step*time.Duration(len(r.steps)) {
		return // before what counts, or after the last request fell due
	}
	r.steps[since/r.step].signed += n
	r.intervalAt(now).signed += n
}

// noteLate enters how late the generator itself was.
func (r *record) noteLate(a arrival, late time.Duration) {
	if a.step == warming {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.late.RecordValue(min(max(late.Microseconds(), 1), longest.Microseconds())) // within range
}

// intervalAt returns the tally of the interval that an instant is in. r.mu is
// held.
func (r *record) intervalAt(at time.Time) *tally {
	i := min(int(at.Sub(r.began)/r.interval), len(r.intervals)-1)
	if r.intervals[i] == nil {
		r.intervals[i] = newTally(2)
	}
	return r.intervals[i]
}
