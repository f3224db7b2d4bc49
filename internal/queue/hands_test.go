package queue

import (
	"sync"
	"testing"
)

func TestHandsNeitherWaitNorAreWaitedFor(t *testing.T) {
	h := newHands()
	var working sync.WaitGroup
	working.Add(3)
	hold := make(chan struct{})
	for range 3 { // all at once, or this would never end
		h.do(func() { working.Done(); <-hold })
	}
	working.Wait()
	close(hold)
	done := 0
	for range 100 {
		ended := make(chan struct{})
		h.do(func() { done++; close(ended) })
		<-ended
	}
	h.dismiss()
	if done != 100 {
		t.Errorf("%d pieces of work done, want 100", done)
	}
	late := make(chan struct{})
	h.do(func() { close(late) })
	<-late
}
