package loadtest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
)

func TestTimesAreShort(t *testing.T) {
	for m, want := range map[Millis]string{0: "∞", 0.051: "0.05", 9.87: "9.87", 12.34: "12.3", 123.4: "123", 12345.6: "12346"} {
		if got := m.String(); got != want {
			t.Errorf("%g is written %s, want %s", float64(m), got, want)
		}
	}
}

func TestTroublesAreNamedOneByOne(t *testing.T) {
	totals := Totals{Held: 1, Shed: 2, Cut: 3, Refused: map[capsign.Code]int64{capsign.Throttled: 5, capsign.NoWorker: 1}}
	want := []string{
		"1 signature ended with no_worker", "5 signatures ended with throttled",
		"1 request sent late, as the most that may be were in flight; the wait counts",
		"2 requests never sent, for the same reason", "3 requests in flight when it was interrupted",
	}
	if diff := cmp.Diff(want, totals.Troubles()); diff != "" {
		t.Error(diff)
	}
	if troubles := (Totals{Requests: 5, Answered: 5}).Troubles(); troubles != nil {
		t.Errorf("nothing went wrong: %q", troubles)
	}
}

// A generator that is as late as the pool is slow measures itself.
func TestABusyMachineIsNoted(t *testing.T) {
	for late, busy := range map[Millis]bool{0.5: false, 1.9: false, 2: true, 40: true} {
		lane := Lane{Steps: []Step{{P99: 3}, {P99: 20}}, Generator: Lateness{P99: late}}
		if lane.Busy() != busy {
			t.Errorf("%g ms late of a p99 of 20 ms: busy is %t", float64(late), !busy)
		}
	}
}

func TestNothingSignedIsARefusal(t *testing.T) {
	refused := func(totals ...Totals) Report {
		var lane Lane
		for _, t := range totals {
			lane.Steps = append(lane.Steps, Step{Totals: t})
		}
		return Report{Lanes: []Lane{lane}}
	}
	for want, report := range map[capsign.Code]Report{
		capsign.PausedByOperator: refused(
			Totals{Requests: 9, Refused: map[capsign.Code]int64{capsign.PausedByOperator: 5, capsign.NoWorker: 2}},
			Totals{Requests: 9, Refused: map[capsign.Code]int64{capsign.NoWorker: 2}}),
		capsign.ResultTimeout: refused(Totals{Requests: 9, Shed: 9}),
	} {
		if err := report.Refusal(); capsign.CodeOf(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	answered := refused(Totals{Requests: 9, Answered: 1, Refused: map[capsign.Code]int64{capsign.NoWorker: 8}})
	if err := answered.Refusal(); err != nil {
		t.Error(err)
	}
	if err := refused(Totals{}).Refusal(); err != nil {
		t.Errorf("nothing was due: %v", err)
	}
}
