package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/loadtest"
)

// badDay is a report of a run in which much went wrong.
func badDay() loadtest.Report {
	rate := loadtest.Rate{From: 400, To: 400}
	return loadtest.Report{
		Interrupted: true, Arrivals: loadtest.Poisson, Size: 1, InFlight: 64, StepSeconds: 10, WarmupSeconds: 2,
		Setup: loadtest.Setup{
			Cap: "1.2.3", Go: "go1.26", Broker: "2.15.2", Platform: "linux/arm64", Cores: 1, Pool: "hsm", Key: "release",
			Provider: "pkcs11", Class: capsign.ClassChip, Alg: capsign.ES256, BrokerHere: loadtest.OtherMachine, WorkerHere: loadtest.PlaceUnknown,
		},
		Lanes: []loadtest.Lane{{
			Lane: capsign.Bulk, Pack: 64, Generator: loadtest.Lateness{P50: 0.06, P99: 0.2, Max: 1.5},
			Steps: []loadtest.Step{{
				Rate: rate, P50: 12.34, P90: 1234.5, Max: 30000,
				Totals: loadtest.Totals{
					Requests: 4000, Answered: 3600, Offered: 399.96, Throughput: 60.04, Held: 7, Shed: 393, Cut: 2,
					Refused: map[capsign.Code]int64{capsign.Throttled: 320},
				},
			}},
		}},
		Budget: []loadtest.Finding{{Lane: capsign.Bulk, Rate: rate, Limit: "p95", Within: 50, Requests: 4000, Needed: 200, Verdict: loadtest.Exceeded}},
	}
}

func TestABadDayIsTold(t *testing.T) {
	want := `pool           hsm, key release
provider       pkcs11, class chip, ES256
worker         how many is not known
broker         nats-server 2.15.2, on another machine
client         cap 1.2.3, go1.26, linux/arm64, 1 core; it checked no signature
load           poisson arrivals, 1 step of 10 s after 2 s of warm-up, messages
               of 1 byte, at most 64 in flight
interrupted    what follows is what there was by then

bulk lane, 64 signatures a request; milliseconds from when each was due
  rate/s        offered answered    p50    p90    p95    p99  p99.9    max  lost
  400               400     60.0   12.3   1234      ∞      ∞      ∞  30000   400
               400/s: 320 signatures ended with throttled
               400/s: 7 requests sent late, as the most that may be were in
               flight; the wait counts
               400/s: 393 requests never sent, for the same reason
               400/s: 2 requests in flight when it was interrupted
               cap itself sent late by 0.06 ms (p50), 0.20 ms (p99), 1.50 ms at
               most, which the times hold as well

exceeded       budget of bulk 400/s: p95 within 50 ms: never
`
	if diff := cmp.Diff(want, benchText(badDay())); diff != "" {
		t.Error(diff)
	}
}

func TestProgressIsOneShortLine(t *testing.T) {
	p := loadtest.Progress{Elapsed: 1500 * time.Millisecond, Total: 32 * time.Second, Warming: true}
	if got := progressText(p); got != "1/32 s, warming up" {
		t.Error(got)
	}
	p.Warming = false
	p.Lanes = []loadtest.LaneProgress{
		{Lane: capsign.Express, Rate: loadtest.Rate{From: 200, To: 200}, P99: 1.234},
		{Lane: capsign.Bulk, Rate: loadtest.Rate{From: 10, To: 500}, Refused: 3},
	}
	if got := progressText(p); got != "1/32 s  express 200/s p99 1.23 ms  bulk 10..500/s 3 refused" {
		t.Error(got)
	}
}

func TestPlaces(t *testing.T) {
	for address, want := range map[string]loadtest.Place{
		"127.0.0.1:4222": loadtest.SameMachine, "[::1]:4222": loadtest.SameMachine, "192.0.2.7:4222": loadtest.OtherMachine,
		"": loadtest.PlaceUnknown, "broker:4222": loadtest.PlaceUnknown, "127.0.0.1": loadtest.PlaceUnknown,
	} {
		if got := placeOf(address); got != want {
			t.Errorf("%q is %s, want %s", address, got, want)
		}
	}
}

// What a run was asked for is checked by the flags alone, whichever way it is
// wrong: the package's own words are not for people.
func TestNoFaultOfALoadIsUnexplained(t *testing.T) {
	sound := func() benchFlags {
		return benchFlags{step: time.Second, pack: 1, size: 1, inFlight: 1, arrivals: "fixed"}
	}
	f := sound()
	if _, err := f.config(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*benchFlags){
		"step": func(f *benchFlags) { f.step = -1 }, "warm-up": func(f *benchFlags) { f.warmup = 2 * time.Hour },
		"size": func(f *benchFlags) { f.size = 1 << 20 }, "pack": func(f *benchFlags) { f.bulk, f.pack, f.size = "1", 1024, 1024 },
		"rates": func(f *benchFlags) { f.express = "1,2"; f.bulk = "1,2,3" }, "too long": func(f *benchFlags) { f.express, f.step = "1,1", time.Hour },
	} {
		f := sound()
		spoil(&f)
		_, err := f.config()
		if err == nil || codeOf(err) != capsign.BadRequest || strings.Contains(err.Error(), "loadtest") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
