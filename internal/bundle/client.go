package bundle

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
)

// Queue is the [Signer] over a client of a pool's queue. It is safe for
// concurrent use.
type Queue struct {
	client *capsign.Client
	nc     *nats.Conn

	mu  sync.Mutex
	key capsign.Key // the last one that was current
}

var _ Signer = (*Queue)(nil)

// NewQueue returns a signer over a client and its connection, both of which
// stay the caller's.
func NewQueue(nc *nats.Conn, client *capsign.Client) *Queue {
	return &Queue{nc: nc, client: client}
}

// Current returns the key version that the client asks for, or the one that the
// pool has last announced to be its current one.
func (q *Queue) Current(ctx context.Context) (capsign.Key, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	signer, err := q.client.Signer(ctx)
	if err != nil {
		return capsign.Key{}, err
	}
	if signer.KID() == q.key.KID {
		return q.key, nil
	}
	keys, err := capsign.FetchKeySet(ctx, q.nc)
	if err != nil {
		return capsign.Key{}, err
	}
	key, err := keys.Key(signer.KID())
	if err != nil {
		return capsign.Key{}, err
	}
	q.key = key
	return key, nil
}

// Sign sends one request through the queue and waits for its signature, which
// the client has verified.
func (q *Queue) Sign(ctx context.Context, msg []byte) (capsign.Signature, error) {
	signed, err := q.client.Sign(ctx, msg)
	return signed.Signature, err
}
