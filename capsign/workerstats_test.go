package capsign_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
)

// wellFormedStats is what a worker may answer.
func wellFormedStats() capsign.WorkerStats {
	var process capsign.Histogram
	process.Record(3 * time.Millisecond)
	return capsign.WorkerStats{
		Worker: capsign.Worker{
			V: capsign.Version, ID: "W1", State: capsign.PoolPaused, Code: capsign.Throttled,
			Since: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		},
		Version: "1.2.3", Started: time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC), Class: capsign.ClassCloud,
		Lanes: map[capsign.Lane]capsign.LaneStats{capsign.Bulk: {
			Answered: 7, Refused: map[capsign.Code]uint64{capsign.Denied: 2}, Process: process, PerSecond: []uint64{0, 1},
		}},
	}
}

// statsText is wellFormedStats on the wire, to be spoilt one way at a time.
const statsText = `{"v":1,"id":"W1","state":"paused","code":"throttled","since":"2026-11-23T12:00:00Z","version":"1.2.3",` +
	`"started":"2026-11-23T11:00:00Z","class":"cloud","sign":[],` +
	`"lanes":{"bulk":{"answered":7,"refused":{"denied":2},"process":[[93,1]],"per_second":[0,1]}}}`

func TestStatsOnTheWire(t *testing.T) {
	data, err := wellFormedStats().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(statsText, string(data)); diff != "" {
		t.Error(diff)
	}
	got, err := capsign.DecodeWorkerStats(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wellFormedStats(), got, cmp.AllowUnexported(capsign.Histogram{})); diff != "" {
		t.Error(diff)
	}
}

func TestImplausibleStatsAreRefused(t *testing.T) {
	for name, edit := range map[string][2]string{
		"another version":          {`"v":1`, `"v":2`},
		"unknown member":           {`"v":1`, `"v":1,"x":1`},
		"duplicate member":         {`"v":1`, `"v":1,"v":1`},
		"no id":                    {`"id":"W1"`, `"id":""`},
		"endless id":               {`"W1"`, `"` + strings.Repeat("W", 65) + `"`},
		"endless version":          {`"1.2.3"`, `"` + strings.Repeat("1", 65) + `"`},
		"unknown state":            {`"paused"`, `"asleep"`},
		"paused without a reason":  {`"code":"throttled",`, ``},
		"ready with a reason":      {`"paused"`, `"ready"`},
		"unknown code":             {`"throttled"`, `"tired"`},
		"unknown class":            {`"cloud"`, `"fog"`},
		"unknown lane":             {`"bulk"`, `"slow"`},
		"refusal of unknown code":  {`"denied"`, `"\u001b[2J"`},
		"refusals beyond counting": {`"denied":2`, `"denied":18446744073709551615`},
		"answers beyond counting":  {`"answered":7`, `"answered":18446744073709551615`},
		"rates beyond counting":    {`[0,1]`, `[0,18446744073709551615]`},
		"more seconds than asked":  {`[0,1]`, `[` + strings.Repeat("1,", capsign.StatsWindow) + `1]`},
		"no such bucket":           {`[[93,1]]`, `[[215,1]]`},
		"empty bucket":             {`[[93,1]]`, `[[93,0]]`},
		"bucket beyond counting":   {`[[93,1]]`, `[[93,18446744073709551615]]`},
		"the same bucket twice":    {`[[93,1]]`, `[[93,1],[93,1]]`},
		"buckets in disorder":      {`[[93,1]]`, `[[94,1],[93,1]]`},
		"half a bucket":            {`[[93,1]]`, `[[93]]`},
		"negative bucket":          {`[[93,1]]`, `[[-1,1]]`},
	} {
		spoilt := strings.Replace(statsText, edit[0], edit[1], 1)
		if spoilt == statsText {
			t.Fatalf("%s: nothing was spoilt", name)
		}
		got, err := capsign.DecodeWorkerStats([]byte(spoilt))
		if err == nil {
			t.Errorf("%s is accepted", name)
		}
		if diff := cmp.Diff(capsign.WorkerStats{}, got, cmp.AllowUnexported(capsign.Histogram{})); diff != "" {
			t.Errorf("%s: an error with something beside it: %s", name, diff)
		}
	}
}

func FuzzDecodeWorkerStats(f *testing.F) {
	f.Add([]byte(statsText))
	f.Fuzz(func(t *testing.T, data []byte) {
		stats, err := capsign.DecodeWorkerStats(data)
		if err != nil {
			return
		}
		again, err := stats.Encode()
		if err != nil {
			t.Fatal(err)
		}
		second, err := capsign.DecodeWorkerStats(again)
		if err != nil {
			t.Fatalf("%s is refused: %v", again, err)
		}
		if third, _ := second.Encode(); !bytes.Equal(again, third) {
			t.Errorf("%s becomes %s", again, third)
		}
		stats.Sign.Add(&second.Sign)
		if stats.Sign.Quantile(0.99) < second.Sign.Quantile(0.5) {
			t.Error("p99 is below p50")
		}
	})
}
