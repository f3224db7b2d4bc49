package pkcs11

import (
	"context"
	"sync"
	"time"
)

// gate stands between the threads and a module. While it is shut nobody is
// inside: C_Finalize with a call inside ends the process.
type gate struct {
	mu     sync.Mutex
	inside int
	opened chan struct{} // closed when the gate opens; nil: it is open
	empty  chan struct{} // closed when the last one leaves; nil: nobody waits for that
}

// enter reports whether the gate is open; leave must follow if it is.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened != nil {
		return false
	}
	g.inside++
	return true
}

// leave follows enter.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// wait returns when the gate is open, or errTimeout when ctx ends first.
func (g *gate) wait(ctx context.Context) error {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	if opened == nil {
		return nil
	}
	select {
	case <-opened:
		return nil
	case <-ctx.Done():
		return errTimeout
	}
}

// shut closes the gate and waits until nobody is inside. Where that takes
// longer than limit it opens it again and returns errHung. Only one may hold
// the gate shut; open must follow.
func (g *gate) shut(limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-g.close():
		return nil
	case <-timer.C:
		g.open()
		return errHung
	}
}

// close closes the gate and returns a channel that is closed as soon as nobody
// is inside.
func (g *gate) close() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = make(chan struct{})
	empty := make(chan struct{})
	if g.inside == 0 {
		close(empty)
		return empty
	}
	g.empty = empty
	return empty
}

// open opens the gate.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.opened)
	g.opened, g.empty = nil, nil
}
