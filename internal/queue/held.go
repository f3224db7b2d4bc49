package queue

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// held is the set of messages that a lane holds.
type held struct {
	mu       sync.Mutex
	messages map[*nats.Msg]time.Time // when each was taken or last renewed
}

// add begins to hold msg.
func (h *held) add(msg *nats.Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.messages == nil {
		h.messages = make(map[*nats.Msg]time.Time)
	}
	h.messages[msg] = time.Now()
}

// remove ends holding msg.
func (h *held) remove(msg *nats.Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.messages, msg)
}

// keep tells the broker, every interval until ctx ends, that the messages held
// longer than half of that are still worked on.
func (h *held) keep(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			h.renew(now.Add(-interval / 2))
		}
	}
}

// renew tells the broker about the messages taken or renewed before then.
func (h *held) renew(before time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for msg, since := range h.messages {
		if since.Before(before) {
			_ = msg.InProgress() // a lost connection means redelivery, which is safe
			h.messages[msg] = time.Now()
		}
	}
}
