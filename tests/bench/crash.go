package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/loadtest"
)

// While a worker is killed, so many requests a second come on each lane, those in
// bulk with so many items. One worker with a slow provider keeps up with them.
const (
	crashRate  = 100
	crashItems = 4
)

// crash measures what becomes of the requests in flight when one of two workers,
// whose signatures take 40 ms, is killed. The server is a process that goes on.
func crash(sync durability) func(context.Context, *pass) (figures, error) {
	return func(ctx context.Context, p *pass) (_ figures, err error) {
		server, err := startServer(filepath.Join(p.dir, "nats"), sync)
		if err != nil {
			return nil, err
		}
		defer server.Stop()
		nc, err := nats.Connect(server.URL())
		if err != nil {
			return nil, err
		}
		defer nc.Close()
		keys, like := filepath.Join(p.dir, "keys"), workers{delay: serviceTime, ackWait: p.pace.ackWait}
		if err := makeKeys(ctx, keys, 1); err != nil {
			return nil, err
		}
		var pair [2]*workerProcess
		for i := range pair {
			record := filepath.Join(p.dir, fmt.Sprint("audit-", i))
			if pair[i], err = spawnWorker(ctx, p, server.URL(), keys, record, sync, like); err != nil {
				return nil, err
			}
		}
		defer func() { err = errors.Join(err, pair[1].stop()) }()
		witness := &witness{}
		sender, err := newRequester(nc, witness.heard)
		if err != nil {
			return nil, errors.Join(err, pair[0].kill())
		}
		return killOne(ctx, p, sender, witness, pair[0])
	}
}

// killOne sends requests on both lanes, kills a worker in the middle, and waits
// for all results.
func killOne(ctx context.Context, p *pass, sender *requester, seen *witness, victim *workerProcess) (figures, error) {
	began, killed := time.Now(), false
	for n := 0; time.Since(began) < 2*p.pace.window; n++ {
		if !killed && time.Since(began) > p.pace.window {
			killed = true
			if err := victim.kill(); err != nil {
				return nil, err
			}
		}
		loadtest.KernelWait(ctx, began.Add(time.Duration(n)*time.Second/crashRate))
		for lane, items := range map[capsign.Lane]int{capsign.Express: 1, capsign.Bulk: crashItems} {
			seen.mu.Lock() // its result must not come first
			n, err := sender.publish(lane, "", p.messages[:items])
			seen.sent(n, lane)
			seen.mu.Unlock()
			if err != nil {
				return nil, err
			}
		}
	}
	if err := sender.stored(ctx); err != nil {
		return nil, err
	}
	deadline, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for seen.missing() > 0 && deadline.Err() == nil {
		_ = pauseFor(deadline, 10*time.Millisecond) // whatever is missing then is lost
	}
	_ = pauseFor(ctx, p.pace.window) // a second release would come about now
	return seen.figures(p.pace.ackWait), sender.err()
}

// witness notes when requests were sent and answered, and with what.
type witness struct {
	mu       sync.Mutex
	requests map[uint64]*witnessed
}

// witnessed is one request.
type witnessed struct {
	lane   capsign.Lane
	at     time.Time
	wait   time.Duration // 0 until the result has come
	second bool          // another result has come
}

// sent notes that a request was sent just now. The caller holds mu.
func (w *witness) sent(n uint64, lane capsign.Lane) {
	if w.requests == nil {
		w.requests = make(map[uint64]*witnessed)
	}
	w.requests[n] = &witnessed{lane: lane, at: time.Now()}
}

// heard notes a result.
func (w *witness) heard(n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.requests[n]
	if r.wait > 0 {
		r.second = true // even if it is the same: the store repeats what it took once
		return
	}
	r.wait = time.Since(r.at)
}

// missing returns how many requests have no result.
func (w *witness) missing() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, r := range w.requests {
		if r.wait == 0 {
			n++
		}
	}
	return n
}

// figures returns what the requests went through, where bulk requests of a lost
// worker are delivered again after ackWait.
func (w *witness) figures(ackWait time.Duration) figures {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := figures{expressWait: 0, bulkWait: 0, taken: 0, lost: 0, doubled: 0}
	const expressAckWait = time.Second
	for _, r := range w.requests {
		own, name := expressAckWait, expressWait
		if r.lane == capsign.Bulk {
			own, name = ackWait, bulkWait
		}
		waited := r.wait
		if name == bulkWait {
			waited -= ackWait
		}
		f[name] = max(f[name], float64(waited.Milliseconds()))
		if r.wait == 0 {
			f[lost]++
		}
		if r.wait >= own {
			f[taken]++
		}
		if r.second {
			f[doubled]++
		}
	}
	return f
}
