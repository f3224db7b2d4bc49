package latency

import (
	"cmp"
	"container/heap"
	"encoding/hex"
	"slices"
	"time"

	"github.com/capsign/cap/capsign"
)

// slowest keeps the requests that took the greatest share of their budget.
type slowest struct {
	keep int
	heap slowHeap
}

// Slow is one of the slowest requests.
type Slow struct {
	// Trace is its id, as trace stores show it.
	Trace   string        `json:"trace_id"`
	Measure Measure       `json:"measure"`
	Class   capsign.Class `json:"class"`
	Pool    string        `json:"pool,omitzero"`
	Lane    capsign.Lane  `json:"lane,omitzero"`
	Code    capsign.Code  `json:"code,omitzero"`
	// Seconds is what it took of its measure, Share the part of its limit.
	Seconds float64 `json:"seconds"`
	Share   float64 `json:"share_of_limit"`
	// Parts is where the time went, in seconds.
	Parts []SlowPart `json:"parts"`
}

// SlowPart is one segment of a slow request.
type SlowPart struct {
	Segment Segment `json:"segment"`
	Seconds float64 `json:"seconds"`
}

// see considers one sample of a line's. Of a request, only its worst sample is
// kept.
func (s *slowest) see(l *line, took time.Duration, r request, call signing) {
	share := l.share(took)
	if len(s.heap) == s.keep && share <= s.heap[0].Share {
		return
	}
	slow := Slow{
		Trace: hex.EncodeToString(r.id[:]), Measure: l.measure, Class: l.class, Pool: r.pool, Lane: r.lane,
		Seconds: took.Seconds(), Share: share, Parts: r.slowParts(l.measure, call),
	}
	switch {
	case l.measure == Express:
		slow.Code = r.publish.code
	case call.span != nil:
		slow.Code = call.span.code
	}
	if at := slices.IndexFunc(s.heap, func(other Slow) bool { return other.Trace == slow.Trace }); at >= 0 {
		if share > s.heap[at].Share {
			s.heap[at] = slow
			heap.Fix(&s.heap, at)
		}
		return
	}
	heap.Push(&s.heap, slow)
	if len(s.heap) > s.keep {
		heap.Pop(&s.heap)
	}
}

// slowParts returns where the time of a sample went: a signature's is its wait
// and the provider's.
func (r request) slowParts(measure Measure, call signing) (out []SlowPart) {
	parts := r.parts(call)
	if rest, ok := r.rest(); ok {
		parts[Rest] = rest
	}
	for _, segment := range segments {
		took, ok := parts[segment]
		if ok && (measure == Express || segment == SessionWait || segment == ProviderRun) {
			out = append(out, SlowPart{segment, took.Seconds()})
		}
	}
	return out
}

// report returns them, the slowest first.
func (s slowest) report() []Slow {
	return slices.SortedFunc(slices.Values(s.heap), func(a, b Slow) int {
		return cmp.Or(-cmp.Compare(a.Share, b.Share), cmp.Compare(a.Trace, b.Trace))
	})
}

// slowHeap has the least of the slowest on top.
type slowHeap []Slow

var _ heap.Interface = (*slowHeap)(nil)

// Len, Less, Swap, Push and Pop are the heap's.
func (h slowHeap) Len() int           { return len(h) }
func (h slowHeap) Less(i, j int) bool { return h[i].Share < h[j].Share }
func (h slowHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *slowHeap) Push(x any)        { *h = append(*h, x.(Slow)) }
func (h *slowHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
