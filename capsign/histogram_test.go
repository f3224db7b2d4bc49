package capsign_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/capsign/cap/capsign"
)

// TestQuantilesOfManyWorkersAreThoseOfOne merges what several workers counted
// and compares with the exact quantiles of everything that they saw.
func TestQuantilesOfManyWorkersAreThoseOfOne(t *testing.T) {
	durations := rapid.Custom(func(t *rapid.T) time.Duration {
		// As many from each order of magnitude between 1 µs and 100 s.
		exponent := rapid.Float64Range(3, 11).Draw(t, "exponent")
		return time.Duration(math.Pow(10, exponent))
	})
	rapid.Check(t, func(t *rapid.T) {
		workers := rapid.SliceOfN(rapid.SliceOfN(durations, 0, 200), 1, 8).Draw(t, "workers")
		var merged capsign.Histogram
		var all []time.Duration
		for _, seen := range workers {
			var own capsign.Histogram
			for _, d := range seen {
				own.Record(d)
			}
			merged.Add(&own)
			all = append(all, seen...)
		}
		if n := merged.Count(); n != uint64(len(all)) {
			t.Fatalf("counted %d of %d", n, len(all))
		}
		slices.Sort(all)
		for _, q := range []float64{0.001, 0.5, 0.95, 0.99, 1} {
			got, exact := merged.Quantile(q), nearestRank(all, q)
			if got < exact || float64(got) > float64(exact)*1.091+1 {
				t.Errorf("quantile %v is %v, exactly %v", q, got, exact)
			}
		}
	})
}

// nearestRank returns the exact quantile of what is sorted.
func nearestRank(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(int(math.Ceil(q*float64(len(sorted)))), 1)-1]
}

// TestAveragesOfQuantilesWouldLie shows why buckets travel and not quantiles.
func TestAveragesOfQuantilesWouldLie(t *testing.T) {
	var quick, slow, both capsign.Histogram
	for range 990 {
		quick.Record(time.Millisecond)
	}
	for range 10 {
		slow.Record(time.Second)
	}
	both.Add(&quick)
	both.Add(&slow)
	average := (quick.Quantile(0.99) + slow.Quantile(0.99)) / 2
	if p99 := both.Quantile(0.99); p99 > 2*time.Millisecond || average < 400*time.Millisecond {
		t.Errorf("p99 of both is %v, the average of theirs %v", p99, average)
	}
}

func TestHistogramSurvivesTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := wellFormedStats()
		for _, ns := range rapid.SliceOf(rapid.Int64()).Draw(t, "durations") {
			before.Sign.Record(time.Duration(ns))
		}
		data, err := before.Encode()
		if err != nil {
			t.Fatal(err)
		}
		after, err := capsign.DecodeWorkerStats(data)
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if after.Sign != before.Sign {
			t.Errorf("%s has become another", data)
		}
	})
}

func TestEmptyHistogramHasNoQuantile(t *testing.T) {
	var h capsign.Histogram
	if q := h.Quantile(0.99); q != 0 {
		t.Errorf("quantile %v of nothing", q)
	}
}

func TestNoDurationIsOutOfRange(t *testing.T) {
	for _, d := range []time.Duration{math.MinInt64, -1, 0, 1, 999, 1000, 1001, 2 * time.Minute, math.MaxInt64} {
		var h capsign.Histogram
		h.Record(d)
		if h.Count() != 1 {
			t.Errorf("%v is not counted", d)
		}
	}
}
