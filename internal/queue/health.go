package queue

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/capsign/cap/capsign"
)

const (
	// firstCanary bounds the canary that decides whether a fault was passing.
	firstCanary = time.Second
	// maxRecheck is the longest pause between two canaries of a faulty provider.
	maxRecheck = 2 * time.Second
	// maxRetryAfter is the longest that a vendor may have us wait.
	maxRetryAfter = time.Minute
	// hungCanaries is after how many canaries that hang the process is given up.
	hungCanaries = 2
)

// terminal are the faults that a worker does not get over: a new process is
// needed, or an operator.
var terminal = []capsign.Code{capsign.PINIncorrect, capsign.TokenLocked, capsign.AuditUnavailable}

// retryAfter is implemented by errors that say when to come back.
type retryAfter interface {
	error
	After() time.Duration
}

// fault shuts the gate because of err, which the provider or the audit log gave
// for a request, and sees to it that the gate opens again when it can. It does
// nothing about errors that concern the request alone.
func (w *Worker) fault(ctx context.Context, err error) {
	code := capsign.CodeOf(err)
	if fate := code.Fate(); fate != capsign.FateHeld && fate != capsign.FateLatched {
		return
	}
	if !w.gate.setFault(code) {
		return // another request met it first
	}
	w.cfg.Log.WarnContext(ctx, "no requests are taken until the provider signs again", "code", string(code))
	w.caring.Go(func() { w.mend(err) })
}

// mend has canaries signed until one succeeds, then opens the gate. Whoever
// waits for the pool learns of the fault if the first canary fails and no other
// worker of the pool is ready.
func (w *Worker) mend(err error) {
	ctx := w.care
	pause, hung := waitFor(err), 0
	for n := 0; ; n++ {
		code := capsign.CodeOf(err)
		if slices.Contains(terminal, code) || hung == hungCanaries {
			w.giveUp(ctx, code)
			return
		}
		if code.Fate() == capsign.FateLatched {
			w.latch(ctx, code)
			return
		}
		if n > 0 {
			w.tellPaused(ctx, code)
		}
		if !sleep(ctx, pause) {
			return
		}
		bound := cmp.Or(w.cfg.SignTimeout, defaultSignTimeout)
		if n == 0 {
			bound = min(bound, firstCanary)
		}
		if err = w.canaryOfCurrent(ctx, bound); err == nil {
			w.recover(ctx)
			return
		}
		if errors.Is(err, capsign.ProviderHung) {
			hung++
		}
		w.gate.setFault(capsign.CodeOf(err))
		pause = max(waitFor(err), spread(min(maxRecheck, 100*time.Millisecond<<min(n, 10))))
	}
}

// waitFor returns how long err asks to be left alone, and up to a quarter more:
// the workers of a fleet are told the same.
func waitFor(err error) time.Duration {
	if wait, ok := errors.AsType[retryAfter](err); ok {
		asked := min(cmp.Or(wait.After(), time.Second), maxRetryAfter)
		return asked + rand.N(asked/4+1) //nolint:gosec // no secret
	}
	return 0
}

// recover opens the gate after a fault.
func (w *Worker) recover(ctx context.Context) {
	w.gate.setFault("")
	w.tellReady(ctx)
	w.cfg.Log.InfoContext(ctx, "the provider signs again")
}

// latch stops the whole pool until an operator resumes it, which ends the fault.
func (w *Worker) latch(ctx context.Context, code capsign.Code) {
	w.gate.setLatch(code)
	w.gate.setFault("")
	w.tellPaused(ctx, code)
	w.cfg.Log.ErrorContext(ctx, "the pool stands still until an operator resumes it", "code", string(code))
}

// giveUp tells whoever runs the worker that it cannot go on.
func (w *Worker) giveUp(ctx context.Context, code capsign.Code) {
	w.tellPaused(ctx, code)
	w.cfg.Log.ErrorContext(ctx, "the worker cannot go on", "code", string(code))
	w.failed <- fmt.Errorf("queue: %w", code)
}

// Failed returns a channel that gets one error when the worker has met a fault
// that only a new process, or an operator, can mend. Stop is still to be called.
func (w *Worker) Failed() <-chan error { return w.failed }

// canaryOfCurrent has a canary signed by the key version of each key that signs
// now.
func (w *Worker) canaryOfCurrent(ctx context.Context, bound time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	names := make(map[string]bool)
	for _, key := range w.keys.all() {
		names[key.Name] = true
	}
	for name := range names {
		key, err := w.currentKey(ctx, name)
		if err == nil {
			err = w.canary(ctx, key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// currentKey returns the key version that signs for a key now. One that is not
// held yet is looked for in the backend.
func (w *Worker) currentKey(ctx context.Context, name string) (capsign.Key, error) {
	kid, err := w.current(ctx, name)
	if err != nil {
		return capsign.Key{}, err
	}
	key, known := w.keys.get(kid)
	if !known && w.cfg.Versions != nil {
		if err := w.cfg.Versions.Reload(ctx); err != nil {
			return capsign.Key{}, err
		}
		if err := w.takeOver(ctx); err != nil {
			return capsign.Key{}, err
		}
		key, known = w.keys.get(kid)
	}
	if !known {
		return capsign.Key{}, fmt.Errorf("queue: current key: %w", capsign.KeyNotHeld)
	}
	return key, nil
}

// canary has a message signed that says only what it is, and forgets the
// signature.
func (w *Worker) canary(ctx context.Context, key capsign.Key) error {
	_, err := w.signChecked(ctx, key, [][]byte{[]byte("cap canary " + crand.Text())})
	return err
}

// sleep waits for d and reports whether ctx is still going on.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
