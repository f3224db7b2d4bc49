package latency

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/capsign/cap/capsign"
)

// judged returns the report of jobs that one worker has done, all of them
// counted.
func judged(budgets Budgets, jobs ...job) Report {
	c := NewCheck(budgets, Options{Signatures: signatures(jobs)})
	do(c, "w1", jobs...)
	return c.Report()
}

// signatures returns how many were made without an error.
func signatures(jobs []job) (n uint64) {
	for _, j := range jobs {
		if j.code == "" {
			n += uint64(max(j.items, 1)) * uint64(max(j.many, 1))
		}
	}
	return n
}

func TestPercentilesOfKnownTimes(t *testing.T) {
	jobs := repeat(1000, job{})
	for i := range jobs { // 0.1 ms, 0.2 ms … 100 ms, in an order of their own
		jobs[i*7%1000].provider = time.Duration(i+1) * 100 * time.Microsecond
	}
	r := judged(everything(), jobs...)
	want := Percentiles{P50: .050, P95: .095, P99: .099, Max: .1}
	if diff := cmp.Diff(want, lineOf(t, r, Sign, capsign.ClassSoftware).Seconds, cmpopts.EquateApprox(0.001, 0)); diff != "" {
		t.Error(diff)
	}
}

func TestExactlyTheBudgetHoldsAndOneMoreExceeds(t *testing.T) {
	jobs := repeat(1000, job{provider: time.Millisecond})
	for i := range 50 { // 95 of 100 are within
		jobs[i*20].provider = 60 * time.Millisecond
	}
	jobs[1].provider = 50 * time.Millisecond
	if r := judged(everything(), jobs...); r.Verdict != Held {
		t.Errorf("%s\n%s", r.Verdict, r.Text())
	}
	jobs[1].provider = 60 * time.Millisecond
	r := judged(everything(), jobs...)
	l := lineOf(t, r, Sign, capsign.ClassSoftware)
	if r.Verdict != Exceeded || r.Code() != capsign.BudgetExceeded || !strings.Contains(l.Why, "p95 is 60.0 ms, and 50.0 ms is allowed") {
		t.Errorf("%s: %+v", r.Verdict, l)
	}
}

func TestEachPercentileHasItsOwnLimit(t *testing.T) {
	jobs := repeat(1000, job{provider: time.Millisecond})
	for i := range 11 {
		jobs[i].provider = 201 * time.Millisecond
	}
	if l := lineOf(t, judged(everything(), jobs...), Sign, capsign.ClassSoftware); l.Verdict != Exceeded || strings.Contains(l.Why, "p95") {
		t.Errorf("%+v", l)
	}
	for i := range jobs {
		jobs[i].class = capsign.ClassChip // has no p99
	}
	if l := lineOf(t, judged(everything(), jobs...), Sign, capsign.ClassChip); l.Verdict != Held {
		t.Errorf("%+v", l)
	}
}

func TestASignatureIsItsWaitsAndTheCall(t *testing.T) {
	like := job{lane: capsign.Bulk, slot: 30 * time.Millisecond, session: 15 * time.Millisecond, provider: 4 * time.Millisecond}
	if l := lineOf(t, judged(everything(), repeat(1000, like)...), Sign, capsign.ClassSoftware); l.Verdict != Held || math.Abs(l.Seconds.P50-.049) > .0001 {
		t.Errorf("%+v", l)
	}
	like.slot = 32 * time.Millisecond
	if l := lineOf(t, judged(everything(), repeat(1000, like)...), Sign, capsign.ClassSoftware); l.Verdict != Exceeded {
		t.Errorf("%+v", l)
	}
}

func TestOnlyExpressIsJudgedEndToEnd(t *testing.T) {
	slow := job{provider: time.Millisecond, publish: time.Second}
	if l := lineOf(t, judged(everything(), repeat(1000, slow)...), Express, capsign.ClassSoftware); l.Verdict != Exceeded {
		t.Errorf("express: %+v", l)
	}
	slow.lane = capsign.Bulk
	r := judged(everything(), repeat(1000, slow)...)
	if l := lineOf(t, r, Express, capsign.ClassSoftware); r.Verdict != Held || l.Verdict != Unseen {
		t.Errorf("bulk: %+v", l)
	}
}

func TestTooFewSamplesAreInconclusiveHoweverFast(t *testing.T) {
	r := judged(everything(), repeat(999, job{})...)
	if l := lineOf(t, r, Sign, capsign.ClassSoftware); l.Verdict != Inconclusive || r.Code() != capsign.BudgetInconclusive {
		t.Errorf("%+v", l)
	}
	if r := judged(everything()); r.Verdict != Inconclusive {
		t.Errorf("of nothing: %s", r.Verdict)
	}
}

func TestAPoolHasItsOwnBudget(t *testing.T) {
	budgets := everything()
	budgets.Pools = map[string]Pool{"archive": {Sign: Limits{P95: 400 * time.Millisecond, P99: time.Second}}}
	slow := repeat(1000, job{pool: "archive", lane: capsign.Bulk, provider: 300 * time.Millisecond})
	r := judged(budgets, append(repeat(1000, job{n: 5000}), slow...)...)
	if r.Verdict != Held || lineOf(t, r, Sign, capsign.ClassSoftware).Samples != 1000 {
		t.Error(r.Text())
	}
}

func TestWhatAPoolLeavesOutIsItsClasses(t *testing.T) {
	slow := repeat(1000, job{pool: "archive", lane: capsign.Bulk, provider: 300 * time.Millisecond})
	for _, test := range []struct {
		pool Limits
		why  string
	}{
		{Limits{P99: time.Second}, "p95 is 300 ms, and 50.0 ms is allowed"},
		{Limits{P95: time.Second}, "p99 is 300 ms, and 200 ms is allowed"},
	} {
		budgets := everything()
		budgets.Pools = map[string]Pool{"archive": {Sign: test.pool}}
		r := judged(budgets, slow...)
		if r.Verdict != Exceeded || !strings.Contains(r.Text(), test.why) {
			t.Errorf("%+v: %s", test.pool, r.Text())
		}
	}
}

// A request that never came to the provider says nothing of its class; its pool's
// others do.
func TestWhatWasNeverSignedFailedInItsPoolsClass(t *testing.T) {
	jobs := append(repeat(1000, job{}), repeat(20, job{n: 5000, code: capsign.ProviderUnavailable, unsigned: true})...)
	l := lineOf(t, judged(everything(), jobs...), Express, capsign.ClassSoftware)
	if l.Samples != 1020 || l.Failed != 20 || l.Verdict != Exceeded {
		t.Errorf("%+v", l)
	}
}

func TestOneCallForManySignaturesCountsForEach(t *testing.T) {
	r := judged(everything(), repeat(50, job{lane: capsign.Bulk, items: 4, many: 64})...)
	if l := lineOf(t, r, Sign, capsign.ClassSoftware); l.Samples != 50*4*64 || l.Verdict != Held {
		t.Errorf("%+v", l)
	}
}

func TestFailuresCountAndRefusalsDoNot(t *testing.T) {
	jobs := repeat(1000, job{provider: time.Millisecond, publish: 2 * time.Millisecond})
	for i := range 20 {
		jobs[i].code = capsign.ProviderUnavailable
	}
	l := lineOf(t, judged(everything(), jobs...), Sign, capsign.ClassSoftware)
	if l.Verdict != Exceeded || l.Failed != 20 || !strings.Contains(l.Why, "2.0 % failed, and 1.0 % may") {
		t.Errorf("fast failures: %+v", l)
	}
	for i := range 20 {
		jobs[i].code = capsign.Denied
	}
	jobs = append(jobs, repeat(20, job{n: 5000})...)
	r := judged(everything(), jobs...)
	if l := lineOf(t, r, Sign, capsign.ClassSoftware); l.Verdict != Held || l.Failed != 0 || l.Samples != 1000 {
		t.Errorf("refusals: %+v", l)
	}
	want := []Error{{"publish cap.job", capsign.Denied, 20}, {"sign", capsign.Denied, 20}}
	if diff := cmp.Diff(want, r.Errors); diff != "" {
		t.Error(diff)
	}
}

func TestTheSplitAddsUp(t *testing.T) {
	like := job{
		class: capsign.ClassToken, queued: 10 * time.Millisecond, slot: 3 * time.Millisecond, session: 7 * time.Millisecond,
		provider: 20 * time.Millisecond, verify: 5 * time.Millisecond, audit: 5 * time.Millisecond, store: 30 * time.Millisecond,
		publish: 100 * time.Millisecond,
	}
	r := judged(everything(), repeat(1000, like)...)
	got := map[Segment]float64{}
	for _, p := range r.Splits[0].Parts {
		got[p.Segment] = p.Share
		if p.Samples != 1000 {
			t.Errorf("%s: %d samples", p.Segment, p.Samples)
		}
		if ms := p.Seconds.P50 * 1000; math.Abs(ms-100*p.Share) > 0.1 { // of 100 ms in all
			t.Errorf("%s: p50 is %v ms", p.Segment, ms)
		}
	}
	want := map[Segment]float64{QueueWait: .10, SessionWait: .10, ProviderRun: .20, Verify: .05, Audit: .05, Store: .30, Rest: .20}
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, 0.0001)); diff != "" {
		t.Error(diff)
	}
}

func TestTheSlowestAreNamedWithTheirSegments(t *testing.T) {
	jobs := repeat(1000, job{provider: time.Millisecond})
	jobs[400].provider = 90 * time.Millisecond
	jobs[600] = job{n: 600, queued: 120 * time.Millisecond, publish: 150 * time.Millisecond}
	slowest := judged(everything(), jobs...).Slowest
	if len(slowest) != 10 || slowest[0].Trace != fmt.Sprintf("%032x", 601) || slowest[1].Trace != fmt.Sprintf("%032x", 401) {
		t.Fatalf("%d: %+v", len(slowest), slowest)
	}
	if at := slices.IndexFunc(slowest[0].Parts, func(p SlowPart) bool { return p.Segment == QueueWait }); at < 0 || slowest[0].Parts[at].Seconds != .12 {
		t.Errorf("%+v", slowest[0].Parts)
	}
	if math.Abs(slowest[0].Share-.75) > .001 || slowest[1].Measure != Sign {
		t.Errorf("%+v", slowest[:2])
	}
}

func TestClocksThatDifferAreReported(t *testing.T) {
	jobs := repeat(1000, job{publish: time.Millisecond})
	if r := judged(everything(), jobs...); r.Skew != nil {
		t.Errorf("without skew: %+v", r.Skew)
	}
	jobs[7].ahead = -250 * time.Millisecond
	r := judged(everything(), jobs...)
	if r.Skew == nil || r.Skew.Broker != 1 || r.Skew.Publishers != 1 || r.Skew.Seconds != .25 {
		t.Errorf("%+v", r.Skew)
	}
	for _, p := range r.Splits[0].Parts {
		if p.Segment == QueueWait && p.Samples != 999 {
			t.Errorf("a negative wait was counted: %d", p.Samples)
		}
	}
}

func TestOrderOfArrivalDoesNotMatter(t *testing.T) {
	jobs := repeat(1000, job{slot: time.Millisecond, provider: time.Millisecond, publish: 3 * time.Millisecond})
	var spans []*tracepb.Span
	for _, j := range jobs {
		worker, publisher := j.spans()
		spans = append(append(spans, worker...), publisher...)
	}
	want := judged(everything(), jobs...)
	slices.Reverse(spans)
	c := NewCheck(everything(), Options{Signatures: 1000})
	c.Spans(export("w1", "", spans...))
	if diff := cmp.Diff(want.Lines, c.Report().Lines); diff != "" {
		t.Error(diff)
	}
}

func TestSpansOfOthersAreLeftAlone(t *testing.T) {
	worker, _ := job{}.spans()
	foreign := export("w1", "", worker...)
	foreign[0].ScopeSpans[0].Scope.Name = "example.com/other"
	c := NewCheck(everything(), Options{})
	c.Spans(foreign)
	c.Spans(export("w1", "", job{}.span("SELECT", 9, 0, 0, time.Second), &tracepb.Span{Name: "sign"}))
	if got := c.Report().Counts; got.Spans != 0 || got.Others != uint64(len(worker)+2) {
		t.Errorf("%+v", got)
	}
}

func TestAClassWithoutABudgetIsSaid(t *testing.T) {
	budgets := everything()
	budgets.Sign.Token = Limits{}
	r := judged(budgets, append(repeat(1000, job{}), repeat(30, job{n: 5000, class: capsign.ClassToken})...)...)
	if r.Counts.Unjudged != 30 || !strings.Contains(r.Text(), "note: 30 signatures are of a class without a budget") {
		t.Errorf("%+v\n%s", r.Counts, r.Text())
	}
}

// TestMemoryIsBounded gives the spans of many more requests than there is room
// for, of half of which the publisher's never comes.
func TestMemoryIsBounded(t *testing.T) {
	const requests, room = 20_000, 2000
	c := NewCheck(everything(), Options{Signatures: requests, MaxHeld: room})
	for n := range uint64(requests) {
		worker, publisher := job{n: n}.spans()
		c.Spans(export("w1", "", worker...))
		if n%2 == 0 {
			c.Spans(export("publisher", "", publisher...))
		}
		if c.pending.held > room || len(c.pending.traces) > room || cap(c.pending.open.ids) > 8*room || cap(c.pending.whole.ids) > 8*room {
			t.Fatalf("after %d requests %d spans are held, in %d traces, queues of %d and %d",
				n, c.pending.held, len(c.pending.traces), cap(c.pending.open.ids), cap(c.pending.whole.ids))
		}
	}
	r := c.Report()
	if l := lineOf(t, r, Sign, capsign.ClassSoftware); l.Samples != requests || l.Verdict != Held {
		t.Errorf("%+v", l)
	}
	if r.Counts.Requests != requests || r.Counts.Incomplete != requests/2 {
		t.Errorf("%+v", r.Counts)
	}
}
