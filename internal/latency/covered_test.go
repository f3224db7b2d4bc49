package latency

import (
	"strings"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

// minute is long after all jobs of a test.
const minute = time.Minute

// coverage returns what the report says of software keys' spans, and the verdict
// of their line.
func coverage(t *testing.T, c *Check) (Coverage, Verdict) {
	t.Helper()
	r := c.Report()
	if len(r.Coverage) == 0 {
		t.Fatalf("no coverage:\n%s", r.Text())
	}
	return r.Coverage[0], lineOf(t, r, Sign, capsign.ClassSoftware).Verdict
}

// mustCover says that so many of so many signatures are found to have a span, and
// what that makes of the budget.
func mustCover(t *testing.T, c *Check, traced, signatures uint64, verdict Verdict) {
	t.Helper()
	got, is := coverage(t, c)
	if got.Traced != traced || got.Signatures != signatures || is != verdict {
		t.Errorf("%+v, %s; want %d of %d, %s", got, is, traced, signatures, verdict)
	}
}

func TestDroppedSpansMakeItInconclusive(t *testing.T) {
	for _, test := range []struct {
		recorded int
		verdict  Verdict
	}{{2000, Held}, {1900, Held}, {1899, Inconclusive}, {1000, Inconclusive}} {
		c := NewCheck(everything(), Options{})
		do(c, "w1", repeat(test.recorded, job{})...)
		c.Metrics(counted("w1", cumulative, capsign.ClassSoftware, 2000, 0, minute))
		mustCover(t, c, uint64(test.recorded), 2000, test.verdict)
	}
}

func TestExceededStaysSoWithDroppedSpans(t *testing.T) {
	c := NewCheck(everything(), Options{})
	do(c, "w1", repeat(1000, job{provider: time.Second})...)
	c.Metrics(counted("w1", cumulative, capsign.ClassSoftware, 2000, 0, minute))
	mustCover(t, c, 1000, 2000, Exceeded)
}

func TestUnknownCoverageIsInconclusive(t *testing.T) {
	c := NewCheck(everything(), Options{})
	do(c, "w1", repeat(2000, job{})...)
	got, verdict := coverage(t, c)
	if verdict != Inconclusive || !strings.Contains(got.Doubt, "export its metrics") {
		t.Errorf("%s: %+v", verdict, got)
	}
}

// One worker of two exports no metrics, and so could hide anything.
func TestOneSilentWorkerLeavesItUnknown(t *testing.T) {
	c := NewCheck(everything(), Options{})
	do(c, "w1", repeat(2000, job{})...)
	do(c, "w2", repeat(10, job{n: 5000})...)
	c.Metrics(counted("w1", cumulative, capsign.ClassSoftware, 2000, 0, minute))
	mustCover(t, c, 2000, 2000, Inconclusive)
}

func TestSignaturesWithoutAnySpanAreNotUnseen(t *testing.T) {
	c := NewCheck(everything(), Options{})
	do(c, "w1", repeat(2000, job{})...)
	c.Metrics(counted("w1", cumulative, capsign.ClassSoftware, 2000, 0, minute))
	c.Metrics(counted("w2", cumulative, capsign.ClassToken, 500, 0, minute))
	r := c.Report()
	if l := lineOf(t, r, Sign, capsign.ClassToken); l.Verdict != Inconclusive || r.Verdict != Inconclusive {
		t.Errorf("%+v", l)
	}
}

func TestCountsOfAllKindsAddUp(t *testing.T) {
	c := NewCheck(everything(), Options{})
	do(c, "w1", repeat(1000, job{})...) // one second's
	do(c, "w2", repeat(500, job{n: 2000})...)
	do(c, "w3", repeat(500, job{n: 3000})...)
	for at, n := range []uint64{300, 300, 1000} { // repeats what it said
		c.Metrics(counted("w1", cumulative, capsign.ClassSoftware, n, 0, time.Duration(at)*time.Second))
	}
	c.Metrics(counted("w2", delta, capsign.ClassSoftware, 200, 0, 200*time.Millisecond))
	c.Metrics(counted("w2", delta, capsign.ClassSoftware, 300, 200*time.Millisecond, minute))
	c.Metrics(counted("w3", cumulative, capsign.ClassSoftware, 100, 0, 100*time.Millisecond)) // began anew:
	c.Metrics(counted("w3", cumulative, capsign.ClassSoftware, 300, 100*time.Millisecond, 400*time.Millisecond))
	c.Metrics(counted("w3", cumulative, capsign.ClassSoftware, 100, 100*time.Millisecond, minute)) // and once more, unsaid
	mustCover(t, c, 2000, 2000, Held)
}

// A worker that has counted since long ago says so once at the beginning: only
// what came after is known on both sides.
func TestWhatWasBeforeIsNotHeldAgainstIt(t *testing.T) {
	c := NewCheck(everything(), Options{Since: dawn})
	c.Metrics(counted("w1", cumulative, capsign.ClassSoftware, 70_000, -time.Hour, 500*time.Millisecond))
	do(c, "w1", repeat(2000, job{})...) // a thousandth apart: 500 of them before
	c.Metrics(counted("w1", cumulative, capsign.ClassSoftware, 71_500, -time.Hour, minute))
	if got, verdict := coverage(t, c); got.Signatures != 1500 || got.Traced < 1495 || got.Traced > 1505 || verdict != Held {
		t.Errorf("%+v, %s", got, verdict)
	}
}

// The same, where the first count arrives after spans that it covers.
func TestSpansBeforeTheFirstCountAreLeftOut(t *testing.T) {
	c := NewCheck(everything(), Options{Since: dawn})
	do(c, "w1", repeat(2000, job{})...)
	c.Metrics(counted("w1", cumulative, capsign.ClassSoftware, 70_000, -time.Hour, 500*time.Millisecond))
	c.Metrics(counted("w1", cumulative, capsign.ClassSoftware, 71_500, -time.Hour, minute))
	if got, verdict := coverage(t, c); got.Signatures != 1500 || got.Traced < 1490 || got.Traced > 1510 || verdict != Held {
		t.Errorf("%+v, %s", got, verdict)
	}
}

// Spans that no count covers yet do not make up for dropped ones.
func TestSpansAfterTheLastCountHideNothing(t *testing.T) {
	c := NewCheck(everything(), Options{})
	do(c, "w1", repeat(2000, job{})...) // half of them after the first second
	c.Metrics(counted("w1", cumulative, capsign.ClassSoftware, 1500, 0, time.Second))
	if got, verdict := coverage(t, c); got.Traced > 1010 || verdict != Inconclusive {
		t.Errorf("%+v, %s", got, verdict)
	}
}

func TestChanceIsAllowedForInASample(t *testing.T) {
	budgets := everything()
	budgets.Sampling, budgets.MinSamples = 0.1, 100
	for _, test := range []struct {
		recorded int
		verdict  Verdict
	}{{1000, Held}, {900, Held}, {840, Inconclusive}, {1100, Held}, {1200, Inconclusive}, {10_000, Inconclusive}} {
		c := NewCheck(budgets, Options{})
		do(c, "w1", repeat(test.recorded, job{})...)
		c.Metrics(counted("w1", cumulative, capsign.ClassSoftware, 10_000, 0, minute))
		mustCover(t, c, uint64(test.recorded), 10_000, test.verdict)
	}
}

func TestMoreSpansThanDeclaredAreNoProof(t *testing.T) {
	c := NewCheck(Default(), Options{}) // says one in a hundred, and all are recorded
	do(c, "w1", repeat(2000, job{})...)
	c.Metrics(counted("w1", cumulative, capsign.ClassSoftware, 2000, 0, minute))
	if got, verdict := coverage(t, c); verdict != Inconclusive || !strings.Contains(got.Doubt, "is the sampling 0.01?") {
		t.Errorf("%+v, %s", got, verdict)
	}
}

func TestTheNumberOfSignaturesCanBeGiven(t *testing.T) {
	for signatures, want := range map[uint64]Verdict{2000: Held, 2200: Inconclusive} {
		c := NewCheck(everything(), Options{Signatures: signatures})
		do(c, "w1", repeat(2000, job{})...)
		mustCover(t, c, 2000, signatures, want)
	}
}

// The publisher drops spans, of the slowest requests perhaps.
func TestPublishersSpansMustComeAsWell(t *testing.T) {
	c := NewCheck(everything(), Options{Signatures: 2000})
	for _, j := range repeat(2000, job{}) {
		worker, publisher := j.spans()
		c.Spans(export("w1", "", worker...))
		if j.n%10 != 0 {
			c.Spans(export("publisher", "", publisher...))
		}
	}
	r := c.Report()
	if l := lineOf(t, r, Express, capsign.ClassSoftware); l.Verdict != Inconclusive || !strings.Contains(l.Why, "90 %") {
		t.Errorf("%+v", l)
	}
	if l := lineOf(t, r, Sign, capsign.ClassSoftware); l.Verdict != Held {
		t.Errorf("%+v", l)
	}
}

func TestPublishersThatDoNotRecordAreNotAskedFor(t *testing.T) {
	r := judged(everything(), repeat(2000, job{noPublish: true})...)
	if l := lineOf(t, r, Express, capsign.ClassSoftware); l.Verdict != Unseen || r.Verdict != Held {
		t.Errorf("%s: %+v", r.Verdict, l)
	}
}
