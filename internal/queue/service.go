package queue

import (
	"context"
	"sync/atomic"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go/micro"

	"github.com/capsign/cap/capsign"
)

// ServiceName is the name under which NATS micro finds workers.
const ServiceName = "cap-worker"

// tally counts what a worker has done since it started.
type tally struct {
	answered, refused atomic.Uint64
}

// count enters one request's end; "" means answered.
func (t *tally) count(code capsign.Code) {
	if code == "" {
		t.answered.Add(1)
		return
	}
	t.refused.Add(1)
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
	service, err := micro.AddService(w.nc, micro.Config{
		Name: ServiceName, Version: w.cfg.Version, Description: "signs requests of a cap pool",
		Metadata:     map[string]string{"pool": w.cfg.Pool, "provider": w.cfg.Provider},
		StatsHandler: func(*micro.Endpoint) any { return w.tally.snapshot() },
	})
	if err != nil {
		return capsign.BrokerUnreachable
	}
	err = service.AddEndpoint("tally", micro.HandlerFunc(func(r micro.Request) {
		if data, err := json.Marshal(w.tally.snapshot()); err == nil && isInbox(r.Reply()) {
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

// snapshot returns the counts as of now.
func (t *tally) snapshot() Tally {
	return Tally{Answered: t.answered.Load(), Refused: t.refused.Load()}
}
