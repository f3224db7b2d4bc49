package capsign

import (
	"fmt"
	"math"
	"math/bits"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// perOctave is how many buckets there are between a duration and its double:
	// a bucket's bounds lie 9 % apart.
	perOctave = 8
	// histogramBuckets is how many buckets there are. The last one begins at
	// about 114 s and has no end.
	histogramBuckets = 27*perOctave - 1
)

// Histogram counts durations in buckets that are the same everywhere, so that
// the histograms of many workers add up to the one that a single worker would
// have kept: quantiles come from the sum, never from other quantiles. Bucket i
// counts what took longer than 2^((i-1)/8) µs and up to 2^(i/8) µs; the first
// one has no lower bound and the last one, 214, no upper bound. The zero value is
// empty and ready for use. It is not safe for concurrent use.
//
// In JSON it is an array of [bucket, count] pairs: the buckets that are not
// empty, in ascending order.
type Histogram struct {
	counts [histogramBuckets]uint64
}

// upperBounds holds the upper bound of each bucket.
var upperBounds = func() (bounds [histogramBuckets]time.Duration) {
	for i := range bounds {
		bounds[i] = time.Duration(math.Exp2(float64(i)/perOctave) * float64(time.Microsecond))
	}
	return bounds
}()

// bucketOf returns the bucket that counts d.
func bucketOf(d time.Duration) int {
	if d <= time.Microsecond {
		return 0
	}
	octave := bits.Len64(uint64(d/time.Microsecond)) - 1
	i := octave * perOctave // whose bound is the octave's beginning, and not above d
	for i < histogramBuckets-1 && d > upperBounds[i] {
		i++
	}
	return min(i, histogramBuckets-1)
}

// Record counts one duration.
func (h *Histogram) Record(d time.Duration) { h.RecordN(d, 1) }

// RecordN counts a duration n times.
func (h *Histogram) RecordN(d time.Duration, n uint64) { h.counts[bucketOf(d)] += n }

// Add counts all that other has counted.
func (h *Histogram) Add(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
}

// Count returns how many durations were counted.
func (h *Histogram) Count() uint64 {
	var n uint64
	for _, count := range h.counts {
		n += count
	}
	return n
}

// Quantile returns the upper bound of the bucket that holds the q-quantile, 0 <
// q <= 1, by nearest rank: at least the exact quantile and at most 9.1 % above
// it, where that lies between 1 µs and 114 s. An empty histogram has the
// quantile 0.
func (h *Histogram) Quantile(q float64) time.Duration {
	total := h.Count()
	if total == 0 {
		return 0
	}
	rank := max(uint64(math.Ceil(q*float64(total))), 1)
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			return upperBounds[i]
		}
	}
	return upperBounds[histogramBuckets-1]
}

// maxCount bounds each count on the wire, so that no sum of some overflows.
const maxCount = 1 << 40

// MarshalJSONTo writes the buckets that are not empty.
func (h Histogram) MarshalJSONTo(out *jsontext.Encoder) error {
	pairs := [][2]uint64{}
	for i, n := range h.counts {
		if n > 0 {
			pairs = append(pairs, [2]uint64{uint64(i), n})
		}
	}
	return json.MarshalEncode(out, pairs)
}

// UnmarshalJSONFrom reads what MarshalJSONTo has written, and nothing else.
func (h *Histogram) UnmarshalJSONFrom(in *jsontext.Decoder) error {
	var pairs [][2]uint64
	if err := json.UnmarshalDecode(in, &pairs); err != nil {
		return err
	}
	*h = Histogram{}
	next := uint64(0)
	for _, pair := range pairs {
		bucket, n := pair[0], pair[1]
		if bucket < next || bucket >= histogramBuckets || n == 0 || n > maxCount {
			return fmt.Errorf("capsign: histogram: %w", BadRequest)
		}
		h.counts[bucket], next = n, bucket+1
	}
	return nil
}
