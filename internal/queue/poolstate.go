package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

// tellTimeout bounds one change of the pool's record.
const tellTimeout = 5 * time.Second

// tellReady says in the pool's record that the pool takes requests, unless it
// waits for an operator.
func (w *Worker) tellReady(ctx context.Context) {
	w.updatePool(ctx, func(p *capsign.Pool) bool {
		if p.Code.Fate() == capsign.FateLatched || p.State == capsign.PoolReady {
			return false
		}
		p.State, p.Code = capsign.PoolReady, ""
		return true
	})
}

// tellPaused says in the pool's record why it takes no requests: for all
// workers, where an operator must act, and else only if no other worker of the
// pool is ready.
func (w *Worker) tellPaused(ctx context.Context, code capsign.Code) {
	if code.Fate() != capsign.FateLatched && w.othersAreReady(ctx) {
		return
	}
	w.updatePool(ctx, func(p *capsign.Pool) bool {
		if p.Code.Fate() == capsign.FateLatched || p.Code == code {
			return false
		}
		p.V, p.Name, p.Provider = capsign.Version, w.cfg.Pool, w.cfg.Provider
		p.State, p.Code = capsign.PoolPaused, code
		return true
	})
}

// TellPaused says in a pool's record why its worker cannot start, as a running
// worker would: unless another worker of the pool is ready. Of cfg it needs
// Pool, Provider, Replicas and Log.
func TellPaused(ctx context.Context, nc *nats.Conn, cfg Config, code capsign.Code) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("queue: tell paused: %w", capsign.BrokerUnreachable)
	}
	w := &Worker{cfg: cfg.withDefaults(), nc: nc, js: js}
	if err := w.provision(ctx); err != nil {
		return fmt.Errorf("queue: tell paused: %w", err)
	}
	w.tellPaused(ctx, code)
	return nil
}

// othersAreReady reports whether another worker of the pool takes requests.
func (w *Worker) othersAreReady(ctx context.Context) bool {
	workers, err := capsign.FetchWorkers(ctx, w.nc, w.cfg.Pool)
	if err != nil {
		return false
	}
	for _, other := range workers {
		if other.ID != w.id && other.State == capsign.PoolReady {
			return true
		}
	}
	return false
}

// updatePool changes the pool's record. A broker that cannot be reached has no
// clients either; the next change finds it again.
func (w *Worker) updatePool(ctx context.Context, change func(*capsign.Pool) bool) {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	if _, err := capsign.UpdatePool(ctx, w.nc, w.cfg.Pool, change); err != nil {
		w.cfg.Log.WarnContext(ctx, "the pool's state cannot be told", "code", string(capsign.CodeOf(err)))
	}
}

// watchPool starts to follow the pool's record. The first word is waited for: a
// pool that waits for an operator must not get a request from a new worker.
func (w *Worker) watchPool(ctx context.Context) error {
	kv, err := w.js.KeyValue(ctx, capsign.PoolsBucket)
	if err != nil {
		return fmt.Errorf("watch pool: %w", streamCode(err))
	}
	watcher, err := w.openWatch(ctx, kv)
	if err != nil {
		return err
	}
	w.caring.Go(func() { w.followPool(kv, watcher) })
	return nil
}

const (
	// firstWord bounds how long a fresh watch may stay mute.
	firstWord = 2 * time.Second
	// rewatch is the pause before a watch that has ended is replaced.
	rewatch = time.Second
)

// openWatch starts a watch of the pool's record and heeds its first word. One
// that stays mute, as can happen on a cluster whose leaders have just changed, is
// given up for another until ctx ends.
func (w *Worker) openWatch(ctx context.Context, kv jetstream.KeyValue) (jetstream.KeyWatcher, error) {
	for {
		watcher, err := kv.Watch(w.care, w.cfg.Pool) //nolint:contextcheck // the watch outlives ctx
		if err != nil {
			return nil, fmt.Errorf("watch pool: %w", streamCode(err))
		}
		select {
		case entry, open := <-watcher.Updates():
			if open {
				w.heed(entry)
				return watcher, nil
			}
		case <-time.After(firstWord):
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("watch pool: %w", capsign.BrokerUnreachable), watcher.Stop())
		}
		_ = watcher.Stop() // it has ended already, if it fails
	}
}

// followPool heeds the pool's record until the worker stops. A watch can end by
// itself, when the broker has lost what it watches; a worker that went on without
// one would not hear of an operator's pause.
func (w *Worker) followPool(kv jetstream.KeyValue, watcher jetstream.KeyWatcher) {
	for {
		if watcher != nil {
			w.heedAll(watcher)
		}
		if !sleep(w.care, rewatch) {
			return
		}
		watcher, _ = w.openWatch(w.care, kv) // nil where there is none to be had now
	}
}

// heedAll heeds what a watch says until it ends, or the worker stops.
func (w *Worker) heedAll(watcher jetstream.KeyWatcher) {
	defer watcher.Stop() //nolint:errcheck // it has ended already, if it fails
	for {
		select {
		case entry, open := <-watcher.Updates():
			if !open {
				return
			}
			w.heed(entry)
		case <-w.care.Done():
			return
		}
	}
}

// heed does what a new record of the pool asks for.
func (w *Worker) heed(entry jetstream.KeyValueEntry) {
	if entry == nil || entry.Operation() != jetstream.KeyValuePut {
		return
	}
	pool, err := capsign.DecodePool(entry.Value())
	if err != nil || pool.Name != w.cfg.Pool {
		return
	}
	latched := capsign.Code("")
	if pool.Code.Fate() == capsign.FateLatched {
		latched = pool.Code
	}
	if w.gate.setLatch(latched) {
		w.cfg.Log.WarnContext(w.care, "the pool's state was changed", "state", string(pool.State), "code", string(pool.Code))
	}
	if latched == "" && pool.State == capsign.PoolPaused && w.gate.code() == "" {
		w.caring.Go(func() { w.tellReady(w.care) }) // another worker spoke for a pool that has us
	}
}
