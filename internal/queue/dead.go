package queue

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/deadletter"
)

// deadLetters keeps what was taken out of the queue without being signed and
// cannot be sent again by itself.
type deadLetters struct {
	js jetstream.JetStream
}

// keep stores a dead letter and returns when the broker has it. The same message
// that is kept again, as its end in the queue was not heard, has one letter.
func (d deadLetters) keep(ctx context.Context, pool, id string, code capsign.Code, msg *nats.Msg) error {
	letter := deadletter.New(msg.Subject, id, msg.Data, code, deliveries(msg))
	return deadletter.Keep(ctx, d.js, pool, letterID(msg), letter, msg.Data)
}

// letterID names the letter of a message for the broker, which keeps no second
// one.
func letterID(msg *nats.Msg) string {
	meta, err := msg.Metadata()
	if err != nil {
		return nats.NewInbox()
	}
	return meta.Stream + "." + strconv.FormatUint(meta.Sequence.Stream, 10) + "." + strconv.FormatInt(meta.Timestamp.UnixNano(), 10)
}
