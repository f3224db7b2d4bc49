package tests

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
)

// patience is how long the tests wait for what a quiet machine does in a
// fraction of a second. It is no promise of cap's.
const patience = time.Minute

// load is messages that are signed while havoc strikes. The messages come in
// shares, one more than there are strikes: each strike falls when a part of its
// share is answered and another is not, and the next share is not sent before
// the strike is over. However fast or slow the machine is, every strike is in
// the middle of the load.
type load struct {
	requests, strikes int
	window            int // requests in flight
	strike            func(i int)
	// send is called before each message is sent, and take for each outcome, from
	// goroutines of their own. Either may be nil.
	send func(i int)
	take func(capsign.Signed, error)
}

// run signs the messages, each a request of its own, and returns when all have
// their outcome and every strike is over. It fails the test for each message
// without a signature.
func (l load) run(t *testing.T, nc *nats.Conn) {
	t.Helper()
	client, err := capsign.NewClient(t.Context(), nc, capsign.ClientConfig{Pack: 1, Window: l.window, Timeout: 5 * patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	answered, struck := make(chan struct{}, l.requests), make(chan struct{}, l.strikes)
	var signing sync.WaitGroup
	t.Cleanup(signing.Wait) // where a strike ends the test
	signed := 0
	signing.Go(func() {
		defer close(answered)
		for outcome, err := range client.SignAll(t.Context(), l.messages(t.Context(), struck)) {
			answered <- struct{}{}
			if err == nil {
				signed++
			} else if t.Context().Err() == nil {
				t.Errorf("item %s: %v", outcome.Ref, err)
			}
			if l.take != nil {
				l.take(outcome, err)
			}
		}
	})
	l.strikeAll(answered, struck)
	signing.Wait()
	if signed != l.requests {
		t.Errorf("%d of %d signed", signed, l.requests)
	}
}

// share is how many messages there are for each strike.
func (l load) share() int { return l.requests / (l.strikes + 1) }

// strikeAll strikes at a place between a quarter and three quarters of each
// share, which chance picks.
func (l load) strikeAll(answered <-chan struct{}, struck chan<- struct{}) {
	share, seen := l.share(), 0
	for i := range l.strikes {
		for at := i*share + share/4 + rand.N(share/2); seen < at; seen++ {
			<-answered
		}
		l.strike(i)
		struck <- struct{}{}
	}
}

// messages yields the load's messages, each share once its strike is over.
func (l load) messages(ctx context.Context, struck <-chan struct{}) iter.Seq[capsign.Item] {
	return func(yield func(capsign.Item) bool) {
		i := 0
		for item := range numbered(l.requests) {
			if n := i / l.share(); i%l.share() == 0 && 0 < n && n <= l.strikes {
				select {
				case <-struck:
				case <-ctx.Done():
					return
				}
			}
			if l.send != nil {
				l.send(i)
			}
			i++
			if !yield(item) {
				return
			}
		}
	}
}

// numbered returns n different messages.
func numbered(n int) iter.Seq[capsign.Item] {
	return func(yield func(capsign.Item) bool) {
		for i := range n {
			if !yield(capsign.Item{Ref: fmt.Sprint(i), Message: fmt.Appendf(nil, "message %d", i)}) {
				return
			}
		}
	}
}

// await waits until ok says so, and ends the test if it does not.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
	}
}
