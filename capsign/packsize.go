package capsign

import (
	"sync"
	"time"
)

const (
	// firstPack is how many items a request gets while nothing is known of the
	// pool.
	firstPack = 16
	// turnaround is what a request of the bulk lane should take at most, from its
	// publication to its result. Everything that a client has in flight then is
	// about as much as the pool signs in that time: enough to keep it busy, and
	// little enough for others to get their turn.
	turnaround = time.Second
)

// packSize is how many items the next request gets. It follows the pool: twice
// as many where results come back in a quarter of turnaround, and
// proportionally fewer where they take longer than that.
type packSize struct {
	fixed bool

	mu    sync.Mutex
	items int
}

// newPackSize returns the size that a configuration asks for: it stays what it
// is, unless it is 0.
func newPackSize(items int) *packSize {
	if items > 0 {
		return &packSize{fixed: true, items: min(items, MaxItems)}
	}
	return &packSize{items: firstPack}
}

// get returns the size, between 1 and [MaxItems].
func (s *packSize) get() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.items
}

// learn takes into account how long a request of so many items took. One of
// another size than the present one tells of the past: a window full of results
// moves the size by one step.
func (s *packSize) learn(items int, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.fixed || items != s.items:
	case took < turnaround/4:
		s.items = min(2*items, MaxItems)
	case took > turnaround:
		s.items = max(int(float64(items)*turnaround.Seconds()/took.Seconds()), 1)
	}
}
