package queue

import (
	"sync"
	"time"

	"github.com/capsign/cap/capsign"
)

// recent keeps the durations of the last [capsign.StatsWindow] seconds, and how
// many there were in each: one histogram for each second, in a ring. It is safe
// for concurrent use, and recording takes less than a hundredth of a signature.
type recent struct {
	mu    sync.Mutex
	slots [capsign.StatsWindow + 1]slot // the second under way, and the full ones
}

// slot is one second.
type slot struct {
	second    int64 // since 1970
	n         uint64
	durations capsign.Histogram
}

// record counts n things that began then and have ended now.
func (r *recent) record(began time.Time, n uint64) {
	d := time.Since(began) // half as dear as asking for the time of day, too
	r.count(d, began.Add(d), n)
}

// count counts n durations that ended at an instant.
func (r *recent) count(d time.Duration, at time.Time, n uint64) {
	second := at.Unix()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.slots[second%int64(len(r.slots))]
	if s.second != second {
		*s = slot{second: second}
	}
	s.n += n
	s.durations.RecordN(d, n)
}

// last returns the durations of the window that ends at an instant, the second
// under way included, and how many there were in each full second of it, the
// newest last.
func (r *recent) last(at time.Time) (durations capsign.Histogram, perSecond []uint64) {
	perSecond = make([]uint64, capsign.StatsWindow)
	now := at.Unix()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.slots {
		s := &r.slots[i]
		age := now - s.second
		if age < 0 || age > capsign.StatsWindow {
			continue
		}
		durations.Add(&s.durations)
		if age > 0 {
			perSecond[capsign.StatsWindow-age] = s.n
		}
	}
	return durations, perSecond
}
