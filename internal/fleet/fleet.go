// Package fleet looks at everything that signs through one broker: pools, their
// lanes and workers, dead letters and stored results, as one sight of one
// instant.
package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/deadletter"
)

// Sight is what there is to see at one instant.
type Sight struct {
	// At is the instant, in UTC.
	At time.Time `json:"at"`
	// Code says why nothing can be seen; empty where Pools and the rest hold.
	Code capsign.Code `json:"code,omitzero"`
	// Pools holds the pools, ordered by name.
	Pools []Pool `json:"pools,omitzero"`
	// Results says how full the results store is; nil where it is not known.
	Results *Fill `json:"results,omitzero"`
}

// Fill is how full a stream is.
type Fill struct {
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	// MaxBytes is where it is full; 0 means never.
	MaxBytes int64 `json:"max_bytes,omitzero"`
}

// Pool is a pool.
type Pool struct {
	Name     string            `json:"pool"`
	Provider string            `json:"provider"`
	State    capsign.PoolState `json:"state"`
	// Code says why it is paused; empty while it is ready.
	Code  capsign.Code `json:"code,omitzero"`
	Since time.Time    `json:"since"`
	// Class is the class of the place that holds its keys, as its workers say;
	// empty where none does, or where they differ.
	Class capsign.Class `json:"class,omitzero"`
	// Current maps each key's name to the kid that signs for it now.
	Current map[string]string `json:"current"`
	// Dead counts its dead letters; nil where that is not known.
	Dead *uint64 `json:"dead,omitzero"`
	// Lanes holds both lanes, the express lane first.
	Lanes []Lane `json:"lanes"`
	// Sign is how long the provider takes for a signature.
	Sign Quantiles `json:"sign"`
	// Workers holds those that run and answer, the oldest first; nil where they
	// cannot be asked.
	Workers []Worker `json:"workers,omitzero"`
}

// Lane is a lane of a pool.
type Lane struct {
	Name capsign.Lane `json:"lane"`
	// Queue is what the broker says of it; nil where it does not say.
	Queue *Queue `json:"queue,omitzero"`
	// Rate is how many deliveries end in a second, on average over the last five.
	Rate float64 `json:"rate"`
	// PerSecond is the same for each of the last seconds, the newest last.
	PerSecond []uint64 `json:"per_second"`
	// Process is how long a delivery is in a worker's hand.
	Process Quantiles `json:"process"`
	// Answered and Refused count since each worker started.
	Answered uint64                  `json:"answered"`
	Refused  map[capsign.Code]uint64 `json:"refused,omitzero"`
}

// Queue is what lies in a lane.
type Queue struct {
	// Waiting counts the requests that no worker has, InHand those that one has.
	Waiting uint64 `json:"waiting"`
	InHand  int    `json:"in_hand"`
	// Oldest is the age of the oldest of them in seconds; 0 where there is none.
	Oldest float64 `json:"oldest"`
}

// Quantiles are those of a time in seconds, over the last half minute and all
// workers together.
type Quantiles struct {
	Count uint64  `json:"count"`
	P50   float64 `json:"p50"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
}

// Worker is a running worker.
type Worker struct {
	ID      string            `json:"id"`
	State   capsign.PoolState `json:"state"`
	Code    capsign.Code      `json:"code,omitzero"`
	Since   time.Time         `json:"since"`
	Started time.Time         `json:"started"`
	Version string            `json:"version"`
}

// Looker looks at the fleet behind one connection.
type Looker struct {
	nc *nats.Conn
	js jetstream.JetStream
}

// NewLooker returns a looker on nc, which stays the caller's.
func NewLooker(nc *nats.Conn) (*Looker, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("fleet: %w", capsign.Internal)
	}
	return &Looker{nc, js}, nil
}

// askedAtOnce bounds how many pools are looked at at the same time.
const askedAtOnce = 32

// Look looks at the pool of this name, or at all where it is "". It takes about a
// third of a second, which workers have to answer. It wraps capsign.PoolUnknown
// where there is none, or what keeps the broker from answering.
func (l *Looker) Look(ctx context.Context, name string) (Sight, error) {
	records, err := capsign.FetchPools(ctx, l.nc)
	if err != nil {
		return Sight{}, err
	}
	if name != "" {
		maps.DeleteFunc(records, func(other string, _ capsign.Pool) bool { return other != name })
	}
	if len(records) == 0 {
		return Sight{}, fmt.Errorf("fleet: look: %w", capsign.PoolUnknown)
	}
	names := slices.Sorted(maps.Keys(records))
	sight := Sight{At: time.Now().UTC(), Pools: make([]Pool, len(names)), Results: l.results(ctx)}
	dead := l.deadLetters(ctx)
	var looking sync.WaitGroup
	turns := make(chan struct{}, askedAtOnce)
	for i, name := range names {
		looking.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			sight.Pools[i] = l.pool(ctx, records[name], dead)
		})
	}
	looking.Wait()
	if err := ctx.Err(); err != nil {
		return Sight{}, fmt.Errorf("fleet: look: %w (%w)", capsign.BrokerUnreachable, err)
	}
	return sight, nil
}

// pool looks at one pool.
func (l *Looker) pool(ctx context.Context, record capsign.Pool, dead map[string]uint64) Pool {
	p := Pool{
		Name: record.Name, Provider: record.Provider, State: record.State, Code: record.Code,
		Since: record.Since.UTC(), Current: record.Current, Dead: deadOf(dead, record.Name),
	}
	stats, err := capsign.FetchStats(ctx, l.nc, record.Name)
	if err == nil {
		p.take(stats)
	} else {
		p.take(nil)
		p.Workers = nil
	}
	for i := range p.Lanes {
		p.Lanes[i].Queue = l.queue(ctx, record.Name, p.Lanes[i].Name)
	}
	return p
}

// deadOf returns how many dead letters a pool has, nil where none is known of
// any.
func deadOf(dead map[string]uint64, pool string) *uint64 {
	if dead == nil {
		return nil
	}
	return new(dead[deadletter.Subject(pool)])
}

// queue asks the broker what lies in a lane.
func (l *Looker) queue(ctx context.Context, pool string, lane capsign.Lane) *Queue {
	stream, err := l.js.Stream(ctx, capsign.JobsStream(pool))
	if err != nil {
		return nil
	}
	consumer, err := stream.Consumer(ctx, string(lane))
	if err != nil {
		return nil
	}
	info := consumer.CachedInfo()
	q := &Queue{Waiting: info.NumPending, InHand: info.NumAckPending}
	if q.Waiting == 0 && q.InHand == 0 {
		return q
	}
	// The first that is left; where it has gone meanwhile, there is none as old.
	if oldest, err := stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(info.Config.FilterSubject)); err == nil {
		q.Oldest = max(time.Since(oldest.Time), 0).Seconds()
	}
	return q
}

// deadLetters returns how many dead letters there are on each subject, nil where
// the broker does not say.
func (l *Looker) deadLetters(ctx context.Context) map[string]uint64 {
	stream, err := l.js.Stream(ctx, deadletter.Stream)
	if err != nil {
		return nil
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(deadletter.Subject(">")))
	if err != nil {
		return nil
	}
	if info.State.Subjects == nil {
		return map[string]uint64{}
	}
	return info.State.Subjects
}

// results returns how full the results store is, nil where the broker does not
// say.
func (l *Looker) results(ctx context.Context) *Fill {
	stream, err := l.js.Stream(ctx, capsign.ResultsStream)
	if err != nil {
		return nil
	}
	info := stream.CachedInfo()
	return &Fill{Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: max(info.Config.MaxBytes, 0)}
}
