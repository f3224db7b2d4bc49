package capsign

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// FetchPools returns what the workers of each pool last said of it, by pool
// name. It wraps [PoolUnknown] where no worker has served this broker yet, or
// [BrokerUnreachable].
func FetchPools(ctx context.Context, nc *nats.Conn) (map[string]Pool, error) {
	records, err := readBucket(ctx, nc, PoolsBucket)
	if err != nil {
		return nil, fmt.Errorf("capsign: fetch pools: %w", err)
	}
	return poolsOf(records), nil
}

// poolsOf decodes the records that are pools' own.
func poolsOf(records []bucketRecord) map[string]Pool {
	pools := make(map[string]Pool)
	for _, record := range records {
		if pool, err := DecodePool(record.value); err == nil && pool.Name == record.name {
			pools[pool.Name] = pool
		}
	}
	return pools
}

// poolWatch follows the states of the pools and tells whoever waits when
// something changed, or when the connection came back.
type poolWatch struct {
	watcher jetstream.KeyWatcher
	status  chan nats.Status
	nc      *nats.Conn
	done    sync.WaitGroup
	quit    chan struct{}

	mu      sync.Mutex
	pools   map[string]Pool
	changed chan struct{} // closed and replaced at each change
}

// watchPools reads the states of all pools and goes on following them until
// stop is called.
func watchPools(ctx context.Context, nc *nats.Conn) (*poolWatch, error) {
	watcher, records, err := openPools(ctx, nc)
	if err != nil {
		return nil, err
	}
	w := &poolWatch{
		watcher: watcher, nc: nc, status: nc.StatusChanged(nats.CONNECTED),
		quit: make(chan struct{}), pools: poolsOf(records), changed: make(chan struct{}),
	}
	w.done.Go(w.follow)
	return w, nil
}

// openPools starts a watch over the pools that outlives ctx, and returns what
// there is now.
func openPools(ctx context.Context, nc *nats.Conn) (jetstream.KeyWatcher, []bucketRecord, error) {
	var watcher jetstream.KeyWatcher
	records, err := ask(ctx, func(once context.Context) ([]bucketRecord, error) {
		kv, err := bucket(once, nc, PoolsBucket)
		if err != nil {
			return nil, err
		}
		if watcher, err = kv.WatchAll(context.WithoutCancel(ctx), jetstream.IgnoreDeletes()); err != nil {
			return nil, brokerFault(err)
		}
		records, err := presentRecords(once, watcher)
		if err != nil {
			_ = watcher.Stop() // the connection is closed, if it fails
		}
		return records, err
	})
	return watcher, records, err
}

// follow takes updates until stop is called.
func (w *poolWatch) follow() {
	updates := w.watcher.Updates()
	for {
		select {
		case <-w.quit:
			return
		case _, open := <-w.status:
			if !open {
				w.status = nil // the connection is closed for good
			}
			w.announce(nil)
		case entry, open := <-updates:
			if !open {
				updates = nil
			}
			w.announce(entry)
		}
	}
}

// announce enters a changed pool, if entry is one, and wakes whoever waits.
func (w *poolWatch) announce(entry jetstream.KeyValueEntry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if entry != nil {
		if pool, err := DecodePool(entry.Value()); err == nil && pool.Name == entry.Key() {
			w.pools[pool.Name] = pool
		}
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// get returns a pool's state and a channel that is closed at the next change.
func (w *poolWatch) get(name string) (Pool, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pools[name], w.changed
}

// all returns a copy of all pools' states.
func (w *poolWatch) all() map[string]Pool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.pools)
}

// stop ends the watch and waits for it.
func (w *poolWatch) stop() {
	close(w.quit)
	w.done.Wait()
	w.nc.RemoveStatusListener(w.status)
	_ = w.watcher.Stop() // the connection may be closed already
}
