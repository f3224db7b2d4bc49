package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

// deadLetters keeps what was taken out of the queue without being signed and
// cannot be sent again by itself.
type deadLetters struct {
	js jetstream.JetStream
}

// DeadLetter is one such record, on cap.dead.<pool>.
type DeadLetter struct {
	V int `json:"v"`
	// Subject is the job subject the message was published on.
	Subject string `json:"subject"`
	// ID is the request's id; empty where the body names none.
	ID string `json:"id,omitzero"`
	// Code says why the message was taken out.
	Code capsign.Code `json:"code"`
	// Deliveries is how often it was delivered.
	Deliveries int `json:"deliveries"`
	// At is when it was taken out, in UTC.
	At time.Time `json:"at"`
	// Body is the message's body.
	Body []byte `json:"body"`
}

// keep stores a dead letter and returns when the broker has it.
func (d deadLetters) keep(ctx context.Context, pool, id string, code capsign.Code, msg *nats.Msg) error {
	letter := DeadLetter{
		V: capsign.Version, Subject: msg.Subject, ID: id, Code: code,
		Deliveries: deliveries(msg), At: time.Now().UTC(), Body: msg.Data,
	}
	data, err := json.Marshal(letter)
	if err != nil {
		return fmt.Errorf("queue: dead letter: %w", capsign.Internal)
	}
	if _, err := d.js.Publish(ctx, deadSubject+pool, data); err != nil {
		return fmt.Errorf("queue: dead letter: %w", capsign.QueueUnavailable)
	}
	return nil
}
