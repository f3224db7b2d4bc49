package queue

import (
	"sync"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

// anInstant is in the middle of a second.
var anInstant = time.Unix(1_800_000_000, 5e8)

func TestOnlyTheLastSecondsCount(t *testing.T) {
	var r recent
	for second := range 100 { // one more than the second before
		for range second {
			r.count(time.Millisecond, anInstant.Add(time.Duration(second)*time.Second), 1)
		}
	}
	durations, perSecond := r.last(anInstant.Add(99 * time.Second))
	total := uint64(99)
	for i, n := range perSecond {
		if want := uint64(99 - capsign.StatsWindow + i); n != want {
			t.Errorf("second %d: %d, want %d", i, n, want)
		}
		total += n
	}
	if n := durations.Count(); n != total {
		t.Errorf("%d durations, want %d", n, total)
	}
	if durations, perSecond = r.last(anInstant.Add(time.Hour)); durations.Count() != 0 || perSecond[capsign.StatsWindow-1] != 0 {
		t.Error("something is left of an hour ago")
	}
}

func TestNothingIsLostWhereManyRecord(t *testing.T) {
	var r recent
	var recording sync.WaitGroup
	for range 8 {
		recording.Go(func() {
			for i := range 1000 {
				r.count(time.Millisecond, anInstant.Add(time.Duration(i)*20*time.Millisecond), 1)
			}
		})
	}
	recording.Wait()
	durations, _ := r.last(anInstant.Add(20 * time.Second))
	if n := durations.Count(); n < 7500 || n > 8000 { // a second that was entered anew by a straggler
		t.Errorf("%d of 8000 durations", n)
	}
}

// BenchmarkRecord is what counting a request or a signature costs: the clock is
// part of it.
func BenchmarkRecord(b *testing.B) {
	began := time.Now()
	b.Run("alone", func(b *testing.B) {
		var t tally
		for b.Loop() {
			t.signed(began, 1)
		}
	})
	b.Run("together", func(b *testing.B) {
		var t tally
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				t.signed(began, 1)
			}
		})
	})
}
