package fleet_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/capsign/capsigntest"
	"github.com/capsign/cap/internal/broker/embedded"
	"github.com/capsign/cap/internal/fleet"
)

// see looks at the pool of capsigntest, within a generous time.
func see(t *testing.T, l *fleet.Looker, name string) (fleet.Sight, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return l.Look(ctx, name)
}

// newLooker returns a looker on nc.
func newLooker(t *testing.T, nc *nats.Conn) *fleet.Looker {
	t.Helper()
	l, err := fleet.NewLooker(nc)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func TestWhatASigningPoolLooksLike(t *testing.T) {
	pool := capsigntest.NewPool(t)
	client, err := capsign.NewClient(t.Context(), pool.Conn, capsign.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if _, err := client.Sign(t.Context(), []byte("hello")); err != nil {
		t.Fatal(err)
	}
	l := newLooker(t, pool.Conn)
	eventually(t, "the signature is seen", func() bool {
		sight, err := see(t, l, "")
		if err != nil || len(sight.Pools) != 1 {
			t.Fatalf("%+v, %v", sight, err)
		}
		p := sight.Pools[0]
		express := p.Lanes[0]
		return p.State == capsign.PoolReady && p.Class == capsign.ClassSoftware && len(p.Workers) == 1 &&
			p.Current["cap-signing"] == pool.Key.KID && p.Dead != nil && *p.Dead == 0 &&
			express.Name == capsign.Express && express.Answered == 1 && express.Process.Count == 1 && p.Sign.Count == 1 &&
			express.Queue != nil && *express.Queue == fleet.Queue{} && sight.Results != nil && sight.Results.Messages == 1
	})
	if _, err := see(t, l, "elsewhere"); capsign.CodeOf(err) != capsign.PoolUnknown {
		t.Errorf("another pool: %v, want %s", err, capsign.PoolUnknown)
	}
}

// TestSeveralWorkersAreOnePool merges what two answer, and not what makes no
// sense.
func TestSeveralWorkersAreOnePool(t *testing.T) {
	pool := capsigntest.NewPool(t)
	var quick, slow capsign.Histogram
	for range 98 {
		quick.Record(time.Millisecond)
	}
	slow.Record(time.Second)
	slow.Record(time.Second)
	for id, process := range map[string]capsign.Histogram{"A": quick, "B": slow} {
		answer(t, pool.Conn, capsign.WorkerStats{
			Worker: capsign.Worker{V: capsign.Version, ID: id, State: capsign.PoolReady}, Class: capsign.ClassCloud, Sign: process,
			Lanes: map[capsign.Lane]capsign.LaneStats{capsign.Bulk: {
				Answered: 5, Refused: map[capsign.Code]uint64{capsign.Denied: 1}, Process: process, PerSecond: []uint64{10, 0, 0, 0, 0},
			}},
		})
	}
	answer(t, pool.Conn, capsign.WorkerStats{Worker: capsign.Worker{V: capsign.Version, ID: "", State: capsign.PoolReady}})
	l := newLooker(t, pool.Conn)
	eventually(t, "all three workers are seen", func() bool {
		sight, err := see(t, l, "default")
		if err != nil {
			t.Fatal(err)
		}
		p := sight.Pools[0]
		if len(p.Workers) != 3 {
			return false
		}
		bulk := p.Lanes[1]
		if bulk.Answered != 10 || bulk.Refused[capsign.Denied] != 2 || bulk.Rate != 4 || bulk.Process.Count != 100 {
			t.Errorf("%+v", bulk)
		}
		if q := bulk.Process; q.P95 > 0.002 || q.P99 < 1 || q.P99 > 1.1 {
			t.Errorf("quantiles %+v of 98 ms and two seconds", q)
		}
		if p.Class != "" {
			t.Errorf("class %q of workers that differ", p.Class)
		}
		return true
	})
}

// answer answers for a worker.
func answer(t *testing.T, nc *nats.Conn, stats capsign.WorkerStats) {
	t.Helper()
	data, err := stats.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Subscribe(capsign.StatsSubject("default"), func(msg *nats.Msg) { _ = msg.Respond(data) }); err != nil {
		t.Fatal(err)
	}
}

func TestBrokerThatIsStartedAgainIsSeenAgain(t *testing.T) {
	options := embedded.Options{Listen: "127.0.0.1:0", StoreDir: t.TempDir(), LazySync: true, Log: slog.New(slog.DiscardHandler)}
	server, err := embedded.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	url := server.URL()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	l := newLooker(t, nc)
	if _, err := see(t, l, ""); capsign.CodeOf(err) != capsign.PoolUnknown {
		t.Fatalf("a broker without pools: %v, want %s", err, capsign.PoolUnknown)
	}
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if sight, err := l.Look(ctx, ""); capsign.CodeOf(err) != capsign.BrokerUnreachable || sight.Pools != nil {
		t.Errorf("a broker that is gone: %+v, %v", sight, err)
	}
	options.Listen = url[len("nats://"):]
	again, err := embedded.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(again.Stop)
	if _, err := see(t, l, ""); capsign.CodeOf(err) != capsign.PoolUnknown {
		t.Errorf("once it is back: %v, want %s", err, capsign.PoolUnknown)
	}
}
