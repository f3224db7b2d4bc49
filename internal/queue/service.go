package queue

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go/micro"

	"github.com/capsign/cap/capsign"
)

// ServiceName is the name under which NATS micro finds workers.
const ServiceName = "cap-worker"

// tally counts what a worker has done since it started, and remembers how long
// the last of it took.
type tally struct {
	started       time.Time
	express, bulk laneTally
	sign          recent
}

// laneTally is a lane's part of it.
type laneTally struct {
	answered atomic.Uint64
	process  recent

	mu      sync.Mutex
	refused map[capsign.Code]uint64
}

// lane returns the part of a lane.
func (t *tally) lane(name capsign.Lane) *laneTally {
	if name == capsign.Express {
		return &t.express
	}
	return &t.bulk
}

// processed enters one request's end, which was taken at began; code is "" where
// it was answered.
func (t *tally) processed(lane capsign.Lane, code capsign.Code, began time.Time) {
	l := t.lane(lane)
	l.process.record(began, 1)
	if code == "" {
		l.answered.Add(1)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused == nil {
		l.refused = make(map[capsign.Code]uint64)
	}
	l.refused[code]++
}

// signed enters one call to the provider for n signatures, which was made at
// began.
func (t *tally) signed(began time.Time, n int) { t.sign.record(began, uint64(n)) } //nolint:gosec // of a request's items

// stats returns what the lane did until now.
func (l *laneTally) stats(now time.Time) capsign.LaneStats {
	s := capsign.LaneStats{Answered: l.answered.Load(), Refused: make(map[capsign.Code]uint64)}
	s.Process, s.PerSecond = l.process.last(now)
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.Copy(s.Refused, l.refused)
	return s
}

// stats returns what the worker tells of its work.
func (w *Worker) stats() capsign.WorkerStats {
	now := time.Now()
	s := capsign.WorkerStats{
		Worker: w.gate.describe(w.id), Version: w.cfg.Version, Started: w.tally.started.UTC().Truncate(time.Second),
		Class: w.class(), Lanes: make(map[capsign.Lane]capsign.LaneStats, len(w.lanes)),
	}
	s.Sign, _ = w.tally.sign.last(now)
	for _, l := range w.lanes {
		s.Lanes[l.name] = w.tally.lane(l.name).stats(now)
	}
	return s
}

// class returns the class of the keys that the worker holds, or "" where they
// are of several.
func (w *Worker) class() (class capsign.Class) {
	for _, key := range w.keys.all() {
		if class != "" && key.Class != class {
			return ""
		}
		class = key.Class
	}
	return class
}

// Tally is what micro's STATS show of a worker, as the data of its endpoint.
type Tally struct {
	// Answered and Refused count requests since the worker started.
	Answered uint64 `json:"answered"`
	Refused  uint64 `json:"refused"`
}

// startService announces the worker to NATS micro, for discovery and
// statistics: PING, INFO and STATS, and an endpoint that tells the tally. It is
// not what clients rely on.
func (w *Worker) startService(context.Context) error {
	w.tally.started = time.Now()
	service, err := micro.AddService(w.nc, micro.Config{
		Name: ServiceName, Version: w.cfg.Version, Description: "signs requests of a cap pool",
		Metadata:     map[string]string{"pool": w.cfg.Pool, "provider": w.cfg.Provider},
		StatsHandler: func(*micro.Endpoint) any { return w.tally.sum() },
	})
	if err != nil {
		return capsign.BrokerUnreachable
	}
	err = service.AddEndpoint("tally", micro.HandlerFunc(func(r micro.Request) {
		if data, err := json.Marshal(w.tally.sum()); err == nil && isInbox(r.Reply()) {
			_ = r.Respond(data) // nobody waits for it any more
		}
	}), micro.WithEndpointSubject("cap.worker."+w.cfg.Pool+".tally"))
	if err != nil {
		_ = service.Stop() // the first error is the one to tell
		return capsign.BrokerUnreachable
	}
	w.service = service
	return nil
}

// sum returns the counts as of now, of both lanes.
func (t *tally) sum() Tally {
	var sum Tally
	for _, l := range []*laneTally{&t.express, &t.bulk} {
		sum.Answered += l.answered.Load()
		l.mu.Lock()
		for _, n := range l.refused {
			sum.Refused += n
		}
		l.mu.Unlock()
	}
	return sum
}
