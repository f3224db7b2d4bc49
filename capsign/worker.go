package capsign

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
)

// Worker is what one running worker says of itself when it is asked.
type Worker struct {
	// V is the format's version, [Version].
	V int `json:"v"`
	// ID is random and lasts as long as the process.
	ID string `json:"id"`
	// State is ready, or paused with Code.
	State PoolState `json:"state"`
	// Code says why the worker takes no requests; empty while it does.
	Code Code `json:"code,omitzero"`
	// Since is when State last changed, in UTC.
	Since time.Time `json:"since"`
}

// WorkerSubject returns the subject on which every worker of a pool answers
// with what it says of itself.
func WorkerSubject(pool string) string { return "cap.worker." + pool + ".state" }

// roundUp is how long to wait for workers that have not spoken yet.
const roundUp = 300 * time.Millisecond

// FetchWorkers asks the running workers of a pool for their states and returns
// what came within 300 ms. It wraps [BrokerUnreachable] where nobody could be
// asked; none running is no error.
func FetchWorkers(ctx context.Context, nc *nats.Conn, pool string) ([]Worker, error) {
	var workers []Worker
	err := askAll(ctx, nc, WorkerSubject(pool), func(answer []byte) {
		var w Worker
		if unmarshalStrict(answer, &w) == nil && w.V == Version {
			workers = append(workers, w)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("capsign: fetch workers: %w", err)
	}
	return workers, nil
}

// maxAnswers bounds how many answers are taken from whoever gives them.
const maxAnswers = 4096

// askAll asks whoever listens on subject and hands over what is answered within
// 300 ms.
func askAll(ctx context.Context, nc *nats.Conn, subject string, take func(answer []byte)) error {
	ctx, cancel := context.WithTimeout(ctx, roundUp)
	defer cancel()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err == nil {
		defer sub.Unsubscribe() //nolint:errcheck // the connection is closed, if it fails
		err = nc.PublishRequest(subject, inbox, nil)
	}
	if err != nil {
		return BrokerUnreachable
	}
	for range maxAnswers {
		msg, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrNoResponders) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return BrokerUnreachable
		}
		take(msg.Data)
	}
	return nil
}

// Encode returns what a worker answers on [WorkerSubject].
func (w Worker) Encode() ([]byte, error) {
	data, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("capsign: encode worker: %w", Internal)
	}
	return data, nil
}
