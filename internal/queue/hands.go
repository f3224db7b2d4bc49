package queue

import "sync"

// hands are goroutines that do one piece of work after another. A goroutine per
// request would grow its stack anew for each, which is a twentieth of the CPU
// time of a request with one item.
type hands struct {
	next chan func()   // taken by a goroutine that has nothing to do
	quit chan struct{} // closed when those are to end
	all  sync.WaitGroup
}

// newHands returns hands, of which there are none yet.
func newHands() *hands { return &hands{next: make(chan func()), quit: make(chan struct{})} }

// do has work done by a goroutine that is free, or by a further one. It does not
// block.
func (h *hands) do(work func()) {
	select {
	case h.next <- work:
	default:
		h.all.Go(func() { h.keepDoing(work) })
	}
}

// keepDoing does work, and then whatever comes.
func (h *hands) keepDoing(work func()) {
	for {
		work()
		select {
		case work = <-h.next:
		case <-h.quit:
			return
		}
	}
}

// dismiss waits until all work is done and the goroutines have ended. Work that
// comes later, from a subscription that could not be waited for, is done all the
// same, by goroutines that end with it.
func (h *hands) dismiss() {
	close(h.quit)
	h.all.Wait()
}
