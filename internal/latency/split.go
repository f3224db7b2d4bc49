package latency

import (
	"slices"
	"time"

	"github.com/capsign/cap/capsign"
)

// Segment is one of the parts that a request's time is split into.
type Segment string

// The segments, in the order in which a request goes through them.
const (
	QueueWait   Segment = "queue wait"   // stored by the broker, not taken by a worker yet
	SessionWait Segment = "session wait" // for one of the lane's slots and for the provider's session
	ProviderRun Segment = "provider"     // the call to the provider without that
	Verify      Segment = "verify"
	Audit       Segment = "audit"
	Store       Segment = "store" // the result's way into the store
	Rest        Segment = "rest"  // the network, the publisher and what lies between the others
)

// segments are all of them in their order.
var segments = []Segment{QueueWait, SessionWait, ProviderRun, Verify, Audit, Store, Rest}

// split is where the time of a class's requests went.
type split struct {
	parts map[Segment]histogram
	total map[Segment]time.Duration
}

// spend takes one part of a request. A part that lasted so long for several
// signatures at once is counted for each of them, but spent once.
func (s *split) spend(segment Segment, took, spent time.Duration) {
	h, ok := s.parts[segment]
	if !ok {
		h = newHistogram()
		s.parts[segment] = h
	}
	h.record(took, 1)
	s.total[segment] += spent
}

// split splits a request's time.
func (c *Check) split(r request) {
	if r.class == "" {
		return
	}
	s := c.splits[r.class]
	if s == nil {
		s = &split{make(map[Segment]histogram), make(map[Segment]time.Duration)}
		c.splits[r.class] = s
	}
	for _, p := range r.processes {
		if p.queued != nil && *p.queued >= 0 { // else the clocks differ
			s.spend(QueueWait, *p.queued, *p.queued)
		}
	}
	for i, signing := range r.signings {
		waited := signing.session
		if i == 0 {
			waited += r.slot
		}
		s.spend(SessionWait, signing.slot+signing.session, waited)
		s.spend(ProviderRun, signing.provider(), signing.provider())
	}
	for segment, times := range map[Segment][]time.Duration{Verify: r.verifies, Audit: r.audits, Store: r.stores} {
		for _, took := range times {
			s.spend(segment, took, took)
		}
	}
	if rest, ok := r.rest(); ok {
		s.spend(Rest, rest, rest)
	}
}

// rest returns what no segment accounts for of a request with one signature; of
// one with several, which are made side by side, there is no telling.
func (r request) rest() (time.Duration, bool) {
	if r.publish == nil || len(r.processes) != 1 || len(r.signings) != 1 || r.signings[0].span.many != 1 {
		return 0, false
	}
	parts := r.parts(r.signings[0])
	var known time.Duration
	for _, part := range parts {
		known += part
	}
	return max(0, r.publish.took()-known), true
}

// parts returns the segments of one of a request's signatures; s's span is nil
// where it was not signed.
func (r request) parts(s signing) map[Segment]time.Duration {
	parts := make(map[Segment]time.Duration)
	if s.span != nil {
		parts[SessionWait], parts[ProviderRun] = s.slot+s.session, s.provider()
	}
	for segment, times := range map[Segment][]time.Duration{Verify: r.verifies, Audit: r.audits, Store: r.stores} {
		if len(times) > 0 {
			parts[segment] = slices.Max(times)
		}
	}
	for _, p := range r.processes {
		if p.queued != nil {
			parts[QueueWait] = max(parts[QueueWait], *p.queued, 0)
		}
	}
	return parts
}

// Split is what a report says of where the time of a class's requests went.
type Split struct {
	Class capsign.Class `json:"class"`
	Parts []Part        `json:"parts"`
}

// Part is one segment in a split.
type Part struct {
	Segment Segment `json:"segment"`
	// Samples counts requests or, of what is done for each item, calls.
	Samples uint64      `json:"samples"`
	Seconds Percentiles `json:"seconds"`
	// Share is the part of all the time that was spent in segments.
	Share float64 `json:"share"`
}

// report returns the split for a class.
func (s *split) report(class capsign.Class) Split {
	out := Split{Class: class}
	var all time.Duration
	for _, total := range s.total {
		all += total
	}
	for _, segment := range segments {
		if h, ok := s.parts[segment]; ok {
			out.Parts = append(out.Parts, Part{
				Segment: segment, Samples: h.count(), Seconds: h.percentiles(), Share: ratio(uint64(s.total[segment]), uint64(all)), //nolint:gosec // no time is negative
			})
		}
	}
	return out
}
