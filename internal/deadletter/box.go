package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

// page is how many letters are asked for at once.
const page = 256

// Entry is a letter as the stream keeps it.
type Entry struct {
	// Seq is its number in the stream.
	Seq uint64
	// Pool is the pool whose workers wrote it.
	Pool string
	// Stored is when the broker got it.
	Stored time.Time
	// Letter is what it says; the zero Letter where Fault is set.
	Letter Letter
	// Fault says why it cannot be read; nil where it can.
	Fault error
}

// Box is the stream of letters.
type Box struct {
	stream jetstream.Stream
}

// Open returns the box on a broker. It wraps capsign.PoolUnknown where no worker
// has made one.
func Open(ctx context.Context, js jetstream.JetStream) (*Box, error) {
	stream, err := js.Stream(ctx, Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("dead letters: %w", capsign.PoolUnknown)
	}
	if err != nil {
		return nil, fmt.Errorf("dead letters: %w", code(err))
	}
	return &Box{stream}, nil
}

// Keep puts a letter and its body into the box of a pool and returns when the
// broker has it on disk. Within two minutes, a second letter of the same id is
// not kept.
func Keep(ctx context.Context, js jetstream.JetStream, pool, id string, letter Letter, body []byte) error {
	msg, err := letter.Encode(pool, body)
	if err != nil {
		return err
	}
	if _, err := js.PublishMsg(ctx, msg, jetstream.WithMsgID(id)); err != nil {
		return fmt.Errorf("dead letter: keep: %w", capsign.QueueUnavailable)
	}
	return nil
}

// Letters yields the letters of a pool, or of every pool where pool is "", oldest
// first: those that are there when the iteration begins, without their bodies,
// and a page at a time. An error ends it.
func (b *Box) Letters(ctx context.Context, pool string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		info, err := b.stream.Info(ctx)
		if err != nil {
			yield(Entry{}, fmt.Errorf("dead letters: list: %w", code(err)))
			return
		}
		consumer, err := b.stream.CreateConsumer(ctx, reader(pool))
		if err != nil {
			yield(Entry{}, fmt.Errorf("dead letters: list: %w", code(err)))
			return
		}
		defer b.stream.DeleteConsumer(context.WithoutCancel(ctx), consumer.CachedInfo().Name) //nolint:errcheck // it ends by itself too
		for more := true; more; {
			more, err = readPage(consumer, func(e Entry) bool { return e.Seq <= info.State.LastSeq && yield(e, nil) })
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Entry{}, fmt.Errorf("dead letters: list: %w", code(err)))
				return
			}
		}
	}
}

// reader is a consumer of a pool's letters without their bodies.
func reader(pool string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		FilterSubject: Subject(cmp.Or(pool, "*")), HeadersOnly: true, AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	}
}

// readPage hands over the next letters and reports whether there may be more and
// take wants them.
func readPage(consumer jetstream.Consumer, take func(Entry) bool) (more bool, err error) {
	batch, err := consumer.FetchNoWait(page)
	if err != nil {
		return false, err
	}
	n := 0
	for msg := range batch.Messages() {
		meta, err := msg.Metadata()
		if err != nil {
			return false, err
		}
		n++
		if !take(newEntry(meta.Sequence.Stream, msg.Subject(), meta.Timestamp, msg.Headers())) {
			return false, nil
		}
	}
	return n > 0, batch.Error()
}

// newEntry returns a letter as the stream keeps it.
func newEntry(seq uint64, subject string, stored time.Time, headers nats.Header) Entry {
	e := Entry{Seq: seq, Pool: strings.TrimPrefix(subject, prefix), Stored: stored.UTC()}
	e.Letter, e.Fault = Decode(headers)
	if e.Fault == nil && capsign.CheckToken(e.Pool) != nil {
		e.Letter, e.Fault = Letter{}, fmt.Errorf("dead letter: pool: %w", capsign.BadRequest)
	}
	return e
}

// Get returns one letter with its body. It wraps capsign.LetterUnknown where
// there is none of that number.
func (b *Box) Get(ctx context.Context, seq uint64) (Entry, []byte, error) {
	msg, err := b.stream.GetMsg(ctx, seq)
	if err != nil {
		return Entry{}, nil, fmt.Errorf("dead letter: get: %w", code(err))
	}
	return newEntry(msg.Sequence, msg.Subject, msg.Time, msg.Header), msg.Data, nil
}

// Drop takes a letter out for good. It wraps capsign.LetterUnknown where there is
// none of that number.
func (b *Box) Drop(ctx context.Context, seq uint64) error {
	err := b.stream.DeleteMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) { // which says no more
		if _, _, err := b.Get(ctx, seq); err != nil {
			return err
		}
		return fmt.Errorf("dead letter: drop: %w", capsign.QueueUnavailable)
	}
	if err != nil {
		return fmt.Errorf("dead letter: drop: %w", code(err))
	}
	return nil
}

// code maps an error of JetStream's to a code.
func code(err error) capsign.Code {
	_, isAPI := errors.AsType[*jetstream.APIError](err)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return capsign.LetterUnknown
	case isAPI:
		return capsign.QueueUnavailable
	}
	return capsign.BrokerUnreachable
}
