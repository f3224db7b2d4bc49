// Package latency decides from spans alone whether a cap installation kept its
// latency budgets, and shows where the time went.
//
// A [Check] takes spans and metrics as OTLP has them, from any number of workers
// and publishers, joins the spans of each request by their trace, and keeps
// histograms of them, not the spans. Its [Report] holds a verdict for each line
// of the [Budgets].
package latency

import (
	"sync"
	"time"

	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/capsign/cap/capsign"
)

// maxHeld is how many spans wait for the rest of their trace at most.
const maxHeld = 1 << 18

// Check judges what it is given. It is safe for concurrent use.
type Check struct {
	budgets Budgets
	options Options

	mu      sync.Mutex
	pending pending
	lines   map[lineKey]*line
	splits  map[capsign.Class]*split
	covered covered
	errors  map[errorKey]uint64
	skew    skew
	slowest slowest
	classes map[string]capsign.Class // of each pool, as its sign spans say
	counts  Counts
}

// Options are what a check is told beside its budgets.
type Options struct {
	// Signatures is how many signatures there were; zero means that the workers'
	// metrics say it.
	Signatures uint64
	// Since is when the check began to listen: what workers had counted before is
	// not held against it. Zero means that everything is there, as in a file.
	Since time.Time
	// Slowest is how many of the slowest requests are named; zero means ten.
	Slowest int
	// MaxHeld is how many spans wait for the rest of their trace at most; zero
	// means 262,144.
	MaxHeld int
}

// Counts says what a check was given.
type Counts struct {
	// Spans is how many of cap's own spans came in; Others are all other ones.
	Spans  uint64 `json:"spans"`
	Others uint64 `json:"other_spans"`
	// Requests is how many traces were put together.
	Requests uint64 `json:"requests"`
	// Incomplete is how many of them were judged as they were, without the span
	// of their publisher or of their worker.
	Incomplete uint64 `json:"incomplete"`
	// Unjudged is how many signatures are of a class that has no budget, or of
	// none.
	Unjudged uint64 `json:"unjudged"`
}

// NewCheck returns a check that has seen nothing.
func NewCheck(budgets Budgets, options Options) *Check {
	if options.Slowest == 0 {
		options.Slowest = 10
	}
	if options.MaxHeld == 0 {
		options.MaxHeld = maxHeld
	}
	return &Check{
		budgets: budgets, options: options,
		pending: newPending(),
		lines:   newLines(budgets),
		splits:  make(map[capsign.Class]*split),
		covered: newCovered(options.Since),
		errors:  make(map[errorKey]uint64),
		slowest: slowest{keep: options.Slowest},
		classes: make(map[string]capsign.Class),
	}
}

// Spans takes spans of one export or of one line of a file.
func (c *Check) Spans(export []*tracepb.ResourceSpans) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, from := range export {
		process := identity(from.GetResource())
		for _, scope := range from.GetScopeSpans() {
			for _, raw := range scope.GetSpans() {
				trace, s, ok := readSpan(scope.GetScope().GetName(), raw)
				if !ok {
					c.counts.Others++
					continue
				}
				c.counts.Spans++
				c.take(process, trace, s)
			}
		}
	}
}

// take keeps a span until its trace is whole or there is no room left.
func (c *Check) take(process string, id traceID, s span) {
	if s.kind == signSpan {
		c.covered.signed(process, s)
	}
	c.pending.add(id, s)
	for c.pending.held > c.options.MaxHeld {
		c.fold(c.pending.next())
	}
}

// Metrics takes metrics of one export or of one line of a file. Of these only
// the workers' counts of signatures matter.
func (c *Check) Metrics(export []*metricpb.ResourceMetrics) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, from := range export {
		process := identity(from.GetResource())
		for _, scope := range from.GetScopeMetrics() {
			for _, metric := range scope.GetMetrics() {
				if metric.GetName() == signaturesMetric {
					c.covered.counted(process, metric.GetHistogram())
				}
			}
		}
	}
}

// Counts returns what the check was given so far.
func (c *Check) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts
}
