package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

// errPerSubject is the broker's number for a subject that holds its one
// message already, and for a stream that is full.
const errPerSubject jetstream.ErrorCode = 10077

// results is the write-once store: one message per subject, refused after the
// first, repeated by the broker to whoever waits for it.
type results struct {
	js jetstream.JetStream
}

// put stores a result's body under subject. It returns nil when the store holds a
// result there, be it this one or one that came first, which then stands. While
// the store takes nothing, put goes on trying until the request has expired.
func (r *results) put(ctx context.Context, subject string, body []byte, expires time.Time) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		if r.write(ctx, subject, body) {
			return nil
		}
		// An expired request's refusal gets one more try, not an eternity.
		if time.Now().Add(wait).After(expires) {
			if r.write(ctx, subject, body) {
				return nil
			}
			return fmt.Errorf("queue: store result: %w", capsign.QueueUnavailable)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("queue: store result: %w", capsign.QueueUnavailable)
		}
	}
}

// storeTimeout bounds one exchange with the store. What was sent to a server that
// then ceased to lead is not answered, and every request behind it waits as long.
const storeTimeout = 2 * time.Second

// write tries once to store body and reports whether subject now holds a
// result.
func (r *results) write(ctx context.Context, subject string, body []byte) bool {
	writeCtx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	_, err := r.js.Publish(writeCtx, subject, body, jetstream.WithRetryAttempts(0))
	if err == nil {
		return true
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); !ok || api.ErrorCode != errPerSubject {
		return false
	}
	return r.has(ctx, subject) // taken, or the stream is full
}

// has reports whether subject holds a result. A store that cannot be asked
// holds none, as far as anybody can say; writing will tell.
func (r *results) has(ctx context.Context, subject string) bool {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	msg, err := r.js.Conn().RequestWithContext(ctx, directGet+subject, nil)
	return err == nil && msg.Header.Get("Status") == ""
}

// directGet is the prefix that reads the last message of a results subject
// without a round trip through the stream's leader.
const directGet = "$JS.API.DIRECT.GET." + capsign.ResultsStream + "."
