package latency

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// MaxDuration stands for everything that takes longer.
const MaxDuration = time.Hour

// histogram counts durations from a microsecond to [MaxDuration], within a
// thousandth of each.
type histogram struct{ of *hdrhistogram.Histogram }

// newHistogram returns an empty one.
func newHistogram() histogram {
	return histogram{hdrhistogram.New(1, MaxDuration.Microseconds(), 3)}
}

// record counts a duration n times.
func (h histogram) record(d time.Duration, n uint64) {
	_ = h.of.RecordValues(min(max(d, 0), MaxDuration).Microseconds(), int64(n)) //nolint:gosec // within range, and few
}

// count returns how many there are.
func (h histogram) count() uint64 { return uint64(h.of.TotalCount()) } //nolint:gosec // never negative

// percentile returns the duration that p of 100 do not exceed: that of the first
// sample, in their order, which has so many before it, itself included. It
// returns zero where there are none.
func (h histogram) percentile(p float64) time.Duration {
	n := float64(h.of.TotalCount())
	if n == 0 {
		return 0
	}
	rank := math.Ceil(p * n / 100)
	return time.Duration(h.of.ValueAtPercentile(100*rank/n)) * time.Microsecond
}

// max returns the longest.
func (h histogram) max() time.Duration { return time.Duration(h.of.Max()) * time.Microsecond }

// within reports whether a percentile keeps a limit, as exactly as the histogram
// can tell.
func (h histogram) within(d, limit time.Duration) bool {
	return d <= limit || h.of.ValuesAreEquivalent(d.Microseconds(), limit.Microseconds())
}

// Percentiles are of a number of durations, in seconds.
type Percentiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// percentiles returns those that reports show.
func (h histogram) percentiles() Percentiles {
	return Percentiles{
		P50: h.percentile(50).Seconds(), P95: h.percentile(95).Seconds(), P99: h.percentile(99).Seconds(), Max: h.max().Seconds(),
	}
}
