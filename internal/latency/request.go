package latency

import (
	"time"

	"github.com/capsign/cap/capsign"
)

// request is what the spans of one trace say of one request, every delivery of
// it included.
type request struct {
	id        traceID
	publish   *span // as its publisher saw it; nil: it did not say
	processes []*span
	signings  []signing
	verifies  []time.Duration
	audits    []time.Duration
	stores    []time.Duration
	slot      time.Duration // of all deliveries
	pool      string
	lane      capsign.Lane
	class     capsign.Class
}

// signing is one call to the provider, for one signature or several at once.
type signing struct {
	span    *span
	slot    time.Duration // for which its request waited for a slot
	session time.Duration // for which it waited for a session
}

// took is what the budgets of signatures are about.
func (s signing) took() time.Duration { return s.slot + s.span.took() }

// provider returns the time that the provider itself took.
func (s signing) provider() time.Duration { return max(0, s.span.took()-s.session) }

// join puts the spans of a trace together.
func join(t *trace) request {
	r := request{id: t.id}
	waits := make(map[spanID]time.Duration) // for slots by the delivery, for sessions by the call
	for i := range t.spans {
		s := &t.spans[i]
		switch s.kind {
		case publishSpan:
			r.publish = s
			r.pool, r.lane = s.pool, s.lane
		case processSpan:
			r.processes = append(r.processes, s)
			r.pool, r.lane = s.pool, s.lane
		case slotSpan:
			waits[s.parent] += s.took()
			r.slot += s.took()
		case sessionSpan:
			waits[s.parent] += s.took()
		case signSpan:
			r.signings = append(r.signings, signing{span: s})
		case verifySpan:
			r.verifies = append(r.verifies, s.took())
		case auditSpan:
			r.audits = append(r.audits, s.took())
		case storeSpan:
			r.stores = append(r.stores, s.took())
		}
	}
	for i := range r.signings {
		s := &r.signings[i]
		s.slot, s.session = waits[s.span.parent], waits[s.span.id]
		if s.span.class != "" {
			r.class = s.span.class
		}
	}
	return r
}

// fold judges a trace that is whole, or has to go as it is.
func (c *Check) fold(t *trace) {
	if t == nil {
		return
	}
	c.counts.Requests++
	if !t.whole {
		c.counts.Incomplete++
	}
	r := join(t)
	c.learn(&r)
	c.judgeSignings(r)
	c.judgeExpress(r)
	c.split(r)
	c.skew.look(r)
	for _, s := range t.spans {
		c.count(s)
	}
}

// maxPools is how many pools' classes are remembered.
const maxPools = 4096

// learn remembers the class of a pool's provider, and tells it of a request that
// was never signed.
func (c *Check) learn(r *request) {
	switch {
	case r.class == "":
		r.class = c.classes[r.pool]
	case r.pool != "" && len(c.classes) < maxPools:
		c.classes[r.pool] = r.class
	}
}

// judgeSignings takes the samples of a request's signatures.
func (c *Check) judgeSignings(r request) {
	c.covered.request(r)
	for _, s := range r.signings {
		l := c.line(Sign, s.span.class, r.pool)
		if l == nil {
			c.counts.Unjudged += s.span.many
			continue
		}
		l.record(s.took(), s.span.many, s.span.code)
		c.slowest.see(l, s.took(), r, s)
	}
}

// judgeExpress takes the sample of a request on the express lane.
func (c *Check) judgeExpress(r request) {
	l := c.line(Express, r.class, r.pool)
	if r.lane != capsign.Express || l == nil {
		return
	}
	for _, s := range r.processes {
		if !s.isRoot() {
			l.due++
			break
		}
	}
	if r.publish != nil {
		l.published++
		l.record(r.publish.took(), 1, r.publish.code)
		c.slowest.see(l, r.publish.took(), r, r.longest())
	}
}

// longest returns the call to the provider that took longest.
func (r request) longest() (longest signing) {
	for _, s := range r.signings {
		if longest.span == nil || s.took() > longest.took() {
			longest = s
		}
	}
	return longest
}

// errorKey is one kind of failure.
type errorKey struct {
	kind kind
	code capsign.Code
}

// count counts a span that failed: a call to the provider, a delivery of a
// request, or a request as its publisher saw it.
func (c *Check) count(s span) {
	if s.code != "" && (s.kind == signSpan || s.kind == processSpan || s.kind == publishSpan) {
		c.errors[errorKey{s.kind, s.code}]++
	}
}
