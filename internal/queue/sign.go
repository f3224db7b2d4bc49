package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/capsign/cap/capsign"
)

// signItems signs a request's items. It takes one of the lane's slots for sure,
// and for a batch as many more as are free at once, so that a lone batch uses
// the whole provider and a crowd shares it. A temporary fault fails the request
// as a whole; any other is the outcome of its item.
func (w *Worker) signItems(ctx context.Context, l *lane, key capsign.Key, items [][]byte) ([]capsign.Outcome, error) {
	if err := l.takeSlot(ctx); err != nil {
		return nil, err
	}
	batch := batch{
		worker: w, key: key, items: items, outcomes: make([]capsign.Outcome, len(items)), share: w.share(l, len(items)),
	}
	var extra sync.WaitGroup
	for range (len(items) - 1) / batch.share {
		if !l.tryExtra(&extra, func() { batch.work(ctx) }) {
			break
		}
	}
	batch.work(ctx)
	l.slots.give()
	extra.Wait()
	if code := batch.temporary.Load(); code != nil {
		return nil, *code
	}
	return batch.outcomes, nil
}

// takeSlot waits for one of the lane's slots until ctx ends.
func (l *lane) takeSlot(ctx context.Context) (err error) {
	span := startSlotWait(ctx)
	defer func() { endSpan(span, err) }()
	if !l.slots.take(ctx) {
		return capsign.RequestExpired
	}
	return nil
}

// tryExtra runs work in a further slot if one is free now.
func (l *lane) tryExtra(running *sync.WaitGroup, work func()) bool {
	if !l.slots.tryTake() {
		return false
	}
	running.Go(func() {
		defer l.slots.give()
		work()
	})
	return true
}

// batch is the items of one request while they are being signed.
type batch struct {
	worker    *Worker
	key       capsign.Key
	items     [][]byte
	outcomes  []capsign.Outcome
	share     int                          // how many items are signed by one call
	next      atomic.Int64                 // the first item nobody has taken
	temporary atomic.Pointer[capsign.Code] // the fault that stops the batch
}

// work signs items until none is left or a temporary fault stops the batch.
func (b *batch) work(ctx context.Context) {
	for b.temporary.Load() == nil {
		from := int(b.next.Add(int64(b.share))) - b.share
		if from >= len(b.items) {
			return
		}
		to := min(from+b.share, len(b.items))
		sigs, err := b.worker.signInTurn(ctx, b.key, b.items[from:to])
		for i, sig := range sigs {
			b.outcomes[from+i].Signature = sig.Bytes
		}
		if err == nil {
			continue
		}
		code := capsign.CodeOf(err)
		if comesBack(code) {
			b.temporary.CompareAndSwap(nil, &code)
			return
		}
		for i := from; i < to; i++ {
			b.outcomes[i].Code = code
		}
	}
}

// signInTurn has a share of a request signed when the gate is open and the
// worker's rate leaves room for it. A provider whose quota is used up is asked
// again once it signs: what is in hand waits with its request, which so loses no
// delivery, while the shut gate keeps further ones in the queue.
func (w *Worker) signInTurn(ctx context.Context, key capsign.Key, msgs [][]byte) ([]capsign.Signature, error) {
	for {
		if code := w.gate.pass(ctx, w.care); code != "" {
			return nil, code
		}
		if w.rate.Wait(ctx) != nil {
			return nil, fmt.Errorf("queue: no room within the worker's rate: %w", capsign.Throttled)
		}
		sigs, err := w.signChecked(ctx, key, msgs)
		if err == nil || ctx.Err() != nil { // it may be the request that had no time left
			return sigs, err
		}
		w.fault(ctx, err)
		if !errors.Is(err, capsign.Throttled) {
			return nil, err
		}
	}
}

// signChecked has messages signed and checks what came back. One wrong signature
// is reason enough to let none go.
func (w *Worker) signChecked(ctx context.Context, key capsign.Key, msgs [][]byte) ([]capsign.Signature, error) {
	sigs, err := w.callSigner(ctx, key, msgs)
	if err != nil {
		return nil, err
	}
	right := len(sigs) == len(msgs)
	for i := 0; right && i < len(msgs); i++ {
		right = w.isRight(ctx, key, msgs[i], sigs[i])
	}
	if !right {
		w.metrics.alarm(ctx, key)
		return nil, fmt.Errorf("queue: wrong signature: %w", capsign.Integrity)
	}
	return sigs, nil
}

// callSigner is one call to the provider, within its time. A panic there is an
// error like any other.
func (w *Worker) callSigner(ctx context.Context, key capsign.Key, msgs [][]byte) (_ []capsign.Signature, err error) {
	began := time.Now()
	ctx, span := startSign(ctx, key, len(msgs))
	defer func() {
		if p := recover(); p != nil {
			w.cfg.Log.ErrorContext(ctx, "provider panicked", "code", string(capsign.Internal), "stack", string(debug.Stack()))
			err = capsign.Internal
		}
		endSpan(span, err)
		w.metrics.signed(ctx, key, len(msgs), err, time.Since(began))
		w.tally.signed(began, len(msgs))
	}()
	if w.cfg.SignTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.cfg.SignTimeout)
		defer cancel()
	}
	return w.sign(ctx, key.KID, msgs)
}

// isRight reports whether a signature is by the key that was asked for and,
// where the worker checks that, of the message.
func (w *Worker) isRight(ctx context.Context, key capsign.Key, msg []byte, sig capsign.Signature) bool {
	if sig.KID != key.KID || sig.Alg != key.Alg {
		return false
	}
	if !w.cfg.VerifySignatures {
		return true
	}
	span := startVerify(ctx)
	defer span.End()
	return key.Verify(msg, sig.Bytes) == nil
}
