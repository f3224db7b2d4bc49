package capsign

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
)

// StatsWindow is how many seconds the histograms and rates of [WorkerStats]
// cover.
const StatsWindow = 30

// WorkerStats is what one running worker tells of its work when it is asked on
// [StatsSubject].
type WorkerStats struct {
	// Worker is what it says of itself on [WorkerSubject] too.
	Worker
	// Version is the worker's version.
	Version string `json:"version"`
	// Started is when it started to serve its pool, in UTC.
	Started time.Time `json:"started"`
	// Class is the class of the place that holds its keys; empty where it holds
	// keys of several.
	Class Class `json:"class,omitzero"`
	// Sign holds how long the provider took for each signature of the last
	// [StatsWindow] seconds, and for each failure.
	Sign Histogram `json:"sign"`
	// Lanes holds each of its lanes.
	Lanes map[Lane]LaneStats `json:"lanes"`
}

// LaneStats is a worker's work on one lane.
type LaneStats struct {
	// Answered counts the requests since Started that left the queue with an
	// outcome for every item.
	Answered uint64 `json:"answered"`
	// Refused counts the others by code, each of their deliveries.
	Refused map[Code]uint64 `json:"refused"`
	// Process holds how long each delivery of the last [StatsWindow] seconds was
	// in hand, the refused ones included.
	Process Histogram `json:"process"`
	// PerSecond holds how many deliveries ended in each of the last [StatsWindow]
	// full seconds by the worker's clock, the newest last.
	PerSecond []uint64 `json:"per_second"`
}

// StatsSubject returns the subject on which every worker of a pool answers with
// its [WorkerStats].
func StatsSubject(pool string) string { return "cap.worker." + pool + ".stats" }

// FetchStats asks the running workers of a pool for their work and returns what
// came within 300 ms and makes sense. It wraps [BrokerUnreachable] where nobody
// could be asked; none running is no error.
func FetchStats(ctx context.Context, nc *nats.Conn, pool string) ([]WorkerStats, error) {
	var stats []WorkerStats
	err := askAll(ctx, nc, StatsSubject(pool), func(answer []byte) {
		if s, err := DecodeWorkerStats(answer); err == nil {
			stats = append(stats, s)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("capsign: fetch stats: %w", err)
	}
	return stats, nil
}

// Encode returns what a worker answers on [StatsSubject].
func (s WorkerStats) Encode() ([]byte, error) {
	data, err := json.Marshal(s, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("capsign: encode stats: %w", Internal)
	}
	return data, nil
}

// DecodeWorkerStats decodes and checks a worker's answer on [StatsSubject].
func DecodeWorkerStats(data []byte) (WorkerStats, error) {
	var s WorkerStats
	if err := unmarshalStrict(data, &s); err != nil {
		return WorkerStats{}, err
	}
	if s.V != Version {
		return WorkerStats{}, fmt.Errorf("capsign: stats: %w", UnsupportedVersion)
	}
	if !s.plausible() {
		return WorkerStats{}, fmt.Errorf("capsign: stats: %w", BadRequest)
	}
	return s, nil
}

// plausible reports whether a worker may have said that.
func (s *WorkerStats) plausible() bool {
	classes := []Class{"", ClassSoftware, ClassToken, ClassChip, ClassCloud}
	ready, paused := s.State == PoolReady && s.Code == "", s.State == PoolPaused && s.Code.Known()
	if s.ID == "" || len(s.ID) > 64 || len(s.Version) > 64 || !ready && !paused || !slices.Contains(classes, s.Class) {
		return false
	}
	for lane, l := range s.Lanes {
		if lane != Express && lane != Bulk || !l.plausible() {
			return false
		}
	}
	return true
}

// plausible reports whether a lane may have counted that.
func (l *LaneStats) plausible() bool {
	if l.Answered > maxCount || len(l.PerSecond) > StatsWindow {
		return false
	}
	for _, n := range l.PerSecond {
		if n > maxCount {
			return false
		}
	}
	for code, n := range l.Refused {
		if !code.Known() || n > maxCount {
			return false
		}
	}
	return true
}
