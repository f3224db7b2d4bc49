package queue

import (
	"context"

	"golang.org/x/time/rate"

	"github.com/capsign/cap/capsign"
)

// BatchSigner is implemented by a [Signer] that signs several messages cheaper
// together than one by one.
type BatchSigner interface {
	// SignBatch returns what Sign would for each of msgs, in their order, or
	// nothing and an error where any of them fails. Like Sign it honours ctx's
	// deadline and is safe for concurrent use, and its errors wrap one
	// capsign.Code. It does not retain msgs.
	SignBatch(ctx context.Context, kid string, msgs [][]byte) ([]capsign.Signature, error)
}

// A call signs no more of a request than mostShared items, which takes less than
// a millisecond in software, so that the lane's slots change hands, and no fewer
// than leastShared, if there are as many.
const (
	leastShared = 16
	mostShared  = 64
)

// share returns how many of a request's n items one call to the provider signs:
// so many that every slot of the lane could have its share. A worker that keeps
// to a rate signs one by one.
func (w *Worker) share(l *lane, n int) int {
	if _, together := w.cfg.Signer.(BatchSigner); !together || w.rate.Limit() != rate.Inf {
		return 1
	}
	slots := l.slots.limit()
	return min(max((n+slots-1)/slots, leastShared), mostShared)
}

// sign asks the provider for the signatures of one share.
func (w *Worker) sign(ctx context.Context, kid string, msgs [][]byte) ([]capsign.Signature, error) {
	if batch, together := w.cfg.Signer.(BatchSigner); together && len(msgs) > 1 {
		return batch.SignBatch(ctx, kid, msgs)
	}
	sigs := make([]capsign.Signature, len(msgs))
	for i, msg := range msgs {
		sig, err := w.cfg.Signer.Sign(ctx, kid, msg)
		if err != nil {
			return nil, err
		}
		sigs[i] = sig
	}
	return sigs, nil
}
