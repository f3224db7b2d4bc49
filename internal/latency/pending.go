package latency

// pending holds the spans of traces that are not judged yet.
//
// A whole trace stays until there is no room left: a collector may have mixed up
// the order, and a span that comes after its trace has gone would be judged by
// itself. Whole traces go first then, in the order in which they became whole,
// and only then those that wait for a span, the oldest first.
type pending struct {
	traces map[traceID]*trace
	whole  queue
	open   queue // all of them, in the order of their first spans
	held   int   // spans
}

// trace is the spans of one request that have arrived.
type trace struct {
	id    traceID
	spans []span

	published, processed bool // the publisher's span is in, and one of the worker's
	alone                bool // the worker's has no publisher
	whole                bool
}

// newPending returns one that holds nothing.
func newPending() pending { return pending{traces: make(map[traceID]*trace)} }

// add keeps a span.
func (p *pending) add(id traceID, s span) {
	t := p.traces[id]
	if t == nil {
		t = &trace{id: id}
		p.traces[id] = t
		p.open.push(id)
	}
	p.held++
	if t.add(s) {
		p.whole.push(id)
	}
}

// add keeps a span and reports whether that made the trace whole: the spans are
// in that end last, the worker's and, if there is one, the publisher's.
func (t *trace) add(s span) bool {
	t.spans = append(t.spans, s)
	t.published = t.published || s.kind == publishSpan
	t.processed = t.processed || s.kind == processSpan
	t.alone = t.alone || s.kind == processSpan && s.isRoot()
	before := t.whole
	t.whole = t.processed && (t.published || t.alone)
	return t.whole && !before
}

// next takes out the trace whose turn it is to be judged. It returns nil where
// there is none.
func (p *pending) next() *trace {
	t := p.take(&p.whole)
	if t == nil {
		t = p.take(&p.open)
	}
	if p.open.len() > 2*len(p.traces)+1024 {
		p.open.retain(func(id traceID) bool { return p.traces[id] != nil })
	}
	return t
}

// take takes out the first trace of a queue that has not gone by another.
func (p *pending) take(from *queue) *trace {
	for from.len() > 0 {
		id := from.pop()
		if t := p.traces[id]; t != nil {
			delete(p.traces, id)
			p.held -= len(t.spans)
			return t
		}
	}
	return nil
}

// queue is traces in order, some of which may have gone already.
type queue struct {
	ids  []traceID
	head int
}

// len returns how many there are.
func (q *queue) len() int { return len(q.ids) - q.head }

// push adds a trace at the end.
func (q *queue) push(id traceID) { q.ids = append(q.ids, id) }

// pop takes the first one out; there must be one.
func (q *queue) pop() traceID {
	id := q.ids[q.head]
	q.head++
	if q.head > 1024 && q.head > len(q.ids)/2 { // give back the room of what has gone
		q.ids, q.head = append(q.ids[:0], q.ids[q.head:]...), 0
	}
	return id
}

// retain drops all but those to keep.
func (q *queue) retain(keep func(traceID) bool) {
	kept := q.ids[:0]
	for _, id := range q.ids[q.head:] {
		if keep(id) {
			kept = append(kept, id)
		}
	}
	q.ids, q.head = kept, 0
}
