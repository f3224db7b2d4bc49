package queue

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/capsign/cap/capsign"
)

// gate says whether the worker takes requests. It is shut by a fault of the
// worker's own, and by a latch of the whole pool's; it is open where there is
// neither.
type gate struct {
	mu    sync.Mutex
	fault capsign.Code // what the worker's provider or audit log met last
	latch capsign.Code // what the pool waits for an operator for
	since time.Time    // when it was opened or shut
	begun bool
	turn  func(open bool)
	news  chan struct{} // closed, and made anew, when what code returns changes

	shut atomic.Pointer[capsign.Code] // what code returns, for many readers
}

// newGate returns a gate, which calls turn whenever it has been opened or shut,
// one call at a time, and for the first time in begin.
func newGate(turn func(open bool)) *gate {
	return &gate{since: time.Now(), turn: turn, news: make(chan struct{})}
}

// begin makes the gate's state count.
func (g *gate) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.begun = true
	g.turn(g.code() == "")
}

// code returns why the gate is shut, or "" while it is open.
func (g *gate) code() capsign.Code {
	if code := g.shut.Load(); code != nil {
		return *code
	}
	return ""
}

// pass returns "" once the gate lets a signature through, or the code that it
// is shut with. A provider that has only had enough for the moment is waited
// for, until ctx or until ends.
func (g *gate) pass(ctx, until context.Context) capsign.Code {
	for {
		g.mu.Lock()
		code, news := g.code(), g.news
		g.mu.Unlock()
		if code != capsign.Throttled {
			return code
		}
		select {
		case <-news:
		case <-ctx.Done():
			return code
		case <-until.Done():
			return code
		}
	}
}

// setFault notes the worker's fault, or its end where code is empty, and
// reports whether there was none before.
func (g *gate) setFault(code capsign.Code) (first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	first = g.fault == "" && code != ""
	g.fault = code
	g.settle()
	return first
}

// setLatch notes what the pool waits for an operator for, or its end where code
// is empty, and reports whether that is news.
func (g *gate) setLatch(code capsign.Code) (changed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	changed = g.latch != code
	g.latch = code
	g.settle()
	return changed
}

// settle makes the gate what its reasons say. The caller holds mu.
func (g *gate) settle() {
	before := g.code()
	now := g.latch
	if now == "" {
		now = g.fault
	}
	if now == before {
		return
	}
	g.since = time.Now()
	close(g.news)
	g.news = make(chan struct{})
	if now == "" {
		g.shut.Store(nil)
	} else {
		g.shut.Store(&now)
	}
	if g.begun && (now == "") != (before == "") {
		g.turn(now == "")
	}
}

// describe returns what the worker says of itself.
func (g *gate) describe(id string) capsign.Worker {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := capsign.Worker{
		V: capsign.Version, ID: id, State: capsign.PoolReady, Code: g.code(),
		Since: g.since.UTC().Truncate(time.Second),
	}
	if w.Code != "" {
		w.State = capsign.PoolPaused
	}
	return w
}
