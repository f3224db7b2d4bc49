package top

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/fleet"
)

// noon is when the frames of these tests are drawn.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// aFrame shows one pool that is busy and one that stands still.
func aFrame() Frame {
	perSecond := make([]uint64, capsign.StatsWindow)
	for i := range perSecond {
		perSecond[i] = uint64(i * 400)
	}
	return Frame{
		Broker: "nats://127.0.0.1:4222 (--nats)", Now: noon, Resume: func(p fleet.Pool) string { return "an operator: cap pool resume " + p.Name },
		Sight: fleet.Sight{
			At: noon, Results: &fleet.Fill{Messages: 1_234_567, Bytes: 3 << 30, MaxBytes: 4 << 30},
			Pools: []fleet.Pool{
				{
					Name: "default", Provider: "software", State: capsign.PoolReady, Class: capsign.ClassSoftware,
					Current: map[string]string{"cap-signing": strings.Repeat("ab", 32)}, Dead: new(uint64(3)),
					Sign: fleet.Quantiles{Count: 9, P50: 0.00003, P95: 0.0612, P99: 0.09},
					Lanes: []fleet.Lane{
						{Name: capsign.Express, Queue: &fleet.Queue{}, PerSecond: make([]uint64, capsign.StatsWindow)},
						{
							Name: capsign.Bulk, Queue: &fleet.Queue{Waiting: 1_048_576, InHand: 512, Oldest: 42}, Rate: 11_000.4,
							PerSecond: perSecond, Process: fleet.Quantiles{Count: 7, P50: 0.0012, P95: 0.045, P99: 1.25},
							Refused: map[capsign.Code]uint64{capsign.RequestExpired: 12, capsign.Denied: 2_000_000, capsign.BadRequest: 12},
						},
					},
					Workers: []fleet.Worker{
						{ID: "ABCDEFGHIJKL", State: capsign.PoolReady, Since: noon.Add(-3 * time.Minute), Started: noon.Add(-3 * time.Hour), Version: "0.1.0"},
						{ID: "MN", State: capsign.PoolPaused, Code: capsign.Throttled, Since: noon.Add(-30 * time.Second), Started: noon.Add(-72 * time.Hour), Version: "0.1.0"},
					},
				},
				{
					Name: "a-pool-with-a-name-as-long-as-32c", Provider: "pkcs11", State: capsign.PoolPaused, Code: capsign.TokenLocked,
					Lanes:   []fleet.Lane{{Name: capsign.Express}, {Name: capsign.Bulk}},
					Current: map[string]string{"one": strings.Repeat("12", 32), "two": strings.Repeat("34", 32)},
				},
			},
		},
	}
}

// inLocale makes the terminal's character set that of a locale.
func inLocale(t *testing.T, locale string) {
	t.Helper()
	t.Setenv("LC_ALL", locale)
}

func TestFrameAt80Columns(t *testing.T) {
	inLocale(t, "C.UTF-8")
	const want = `cap top  12:00:00 UTC  nats://127.0.0.1:4222 (--nats)
2 pools · 1.2M results, 3.0 GiB of 4.0 GiB (75 %)

default  ready · software · 2 workers · 3 dead
  lane      waiting in hand oldest rate/s    p50     p95     p99
  express         0       0      -      0      -       -       -
  bulk         1.0M     512    42s    11k  1.2ms    45ms    1.2s  ▄▄▄▅▅▅▆▆▆▆▇▇▇█
  provider                                  30µs   !61ms    90ms
  refused bulk: denied 2.0M, bad_request 12, request_expired 12
  signs with abababababababab
  worker ABCDEFGH  ready for 3min · up 3h · 0.1.0
  worker MN        paused throttled for 30s · up 3d · 0.1.0

a-pool-with-a-name-as-long-as-32c  PAUSED token_locked · pkcs11 · workers not k…
  an operator: cap pool resume a-pool-with-a-name-as-long-as-32c
  lane      waiting in hand oldest rate/s    p50     p95     p99
  express         ?       ?      ?      0      -       -       -
  bulk            ?       ?      ?      0      -       -       -
  provider                                     -       -       -
  signs with one 1212121212121212 · two 3434343434343434
`
	if diff := cmp.Diff(want, aFrame().Text(80)); diff != "" {
		t.Error(diff)
	}
}

func TestNoLineIsWiderThanTheTerminal(t *testing.T) {
	for _, locale := range []string{"C.UTF-8", "C"} {
		inLocale(t, locale)
		for columns := 1; columns <= 200; columns++ {
			for n, l := range strings.Split(aFrame().Text(columns), "\n") {
				if utf8.RuneCountInString(l) > columns {
					t.Fatalf("%s, %d columns: line %d has %d: %q", locale, columns, n, utf8.RuneCountInString(l), l)
				}
			}
		}
	}
}

func TestNarrowFrameKeepsWhatMattersMost(t *testing.T) {
	inLocale(t, "C.UTF-8")
	text := aFrame().Text(40)
	for _, want := range []string{
		"  lane      waiting rate/s     p99\n", "  bulk         1.0M    11k    1.2s\n", "a-pool-with…  PAUSED token_locked",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func TestPlainLocaleGetsPlainCharacters(t *testing.T) {
	inLocale(t, "C")
	for _, r := range aFrame().Text(80) {
		if r > 126 {
			t.Fatalf("%q in a frame for a terminal that may not have it", r)
		}
	}
}

func TestNumbersStayNarrow(t *testing.T) {
	for n := uint64(1); n < 1<<62; n = n*3 + 1 {
		if text := count(n); len(text) > 5 {
			t.Errorf("%d is %q", n, text)
		}
		if text := rate(float64(n) / 1000); len(text) > 5 {
			t.Errorf("%d/1000 is %q", n, text)
		}
		if text := ascii.span(float64(n) / 1e6); n < 1e15 && len(text) > 6 {
			t.Errorf("%d µs is %q", n, text)
		}
		if size(n) == "" {
			t.Error(n)
		}
	}
}

func TestOldSightIsSaidToBeOld(t *testing.T) {
	f := aFrame()
	f.Fault, f.Now = capsign.BrokerUnreachable, noon.Add(12*time.Second)
	if text := f.Text(80); !strings.Contains(text, "NO ANSWER (broker_unreachable), below is what was 12s ago\n") {
		t.Errorf("%s", text)
	}
}

func TestCurveShowsAnythingAtAll(t *testing.T) {
	if got := fmt.Sprintf("%q", unicode.spark([]uint64{9, 0, 1, 1000}, 3)); got != `" ▁█"` {
		t.Error(got)
	}
	if got := unicode.spark(make([]uint64, 3), 8); got != "   " {
		t.Errorf("%q", got)
	}
}
