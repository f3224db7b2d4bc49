package queue

import (
	"context"

	"github.com/capsign/cap/capsign"
)

// slots bound how many signatures a lane has made at once. Lanes can share what
// the provider does at once: own is then less than that, and all is the same
// channel for each of them.
type slots struct {
	own chan struct{} // the lane's
	all chan struct{} // the provider's; nil where the lanes share nothing
}

// newSlots returns the slots of each lane. A device or a cloud serves so many
// calls at once and no more: the lanes share them, and the bulk lane leaves an
// eighth to the express lane, which may take all. Where that is less than one, and
// in software, whose CPUs share themselves, the express lane has slots of its own.
func newSlots(cfg Config) map[capsign.Lane]slots {
	n := cfg.Parallelism
	reserved := n / 8
	if !cfg.SharedSlots || reserved == 0 {
		return map[capsign.Lane]slots{
			capsign.Express: {own: make(chan struct{}, max(2, n))},
			capsign.Bulk:    {own: make(chan struct{}, n)},
		}
	}
	all := make(chan struct{}, n)
	return map[capsign.Lane]slots{
		capsign.Express: {own: make(chan struct{}, n), all: all},
		capsign.Bulk:    {own: make(chan struct{}, n-reserved), all: all},
	}
}

// take waits for a slot until ctx ends, and reports whether it got one; give must
// follow.
func (s slots) take(ctx context.Context) bool {
	if !enter(ctx, s.own) {
		return false
	}
	if !enter(ctx, s.all) {
		<-s.own
		return false
	}
	return true
}

// enter waits for room in a channel, if there is one, until ctx ends.
func enter(ctx context.Context, slots chan struct{}) bool {
	if slots == nil {
		return true
	}
	select {
	case slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// tryTake takes a slot if one is free now.
func (s slots) tryTake() bool {
	select {
	case s.own <- struct{}{}:
	default:
		return false
	}
	if s.all == nil {
		return true
	}
	select {
	case s.all <- struct{}{}:
		return true
	default:
		<-s.own
		return false
	}
}

// give gives a slot back.
func (s slots) give() {
	if s.all != nil {
		<-s.all
	}
	<-s.own
}

// busy and limit are how many slots are taken, and how many there are.
func (s slots) busy() int  { return len(s.own) }
func (s slots) limit() int { return cap(s.own) }
