package queue

import (
	"bytes"
	"context"
	"fmt"

	"github.com/capsign/cap/capsign"
)

// announce publishes what clients and verifiers read: each key version under
// its kid, and the pool's record. A pool that waits for an operator goes on
// waiting.
func (w *Worker) announce(ctx context.Context) error {
	signs := make(map[string]string)
	for kid, key := range w.keys.all() {
		current, err := w.current(ctx, key.Name)
		if err != nil { // nothing signs now; what would is still worth knowing
			if current, err = w.cfg.Signer.CurrentKID(ctx); err != nil {
				return err
			}
		}
		signs[key.Name] = current
		if err := w.announceKey(ctx, key, w.stateOf(key.Name, kid, current)); err != nil {
			return err
		}
	}
	_, err := capsign.UpdatePool(ctx, w.nc, w.cfg.Pool, func(p *capsign.Pool) bool {
		before := *p
		p.V, p.Name, p.Provider, p.Current = capsign.Version, w.cfg.Pool, w.cfg.Provider, signs
		if p.Code.Fate() != capsign.FateLatched && w.gate.code() == "" {
			p.State, p.Code = capsign.PoolReady, ""
		}
		return !p.Equal(before)
	})
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	return nil
}

// current returns the kid that signs for a key when a request names none.
func (w *Worker) current(ctx context.Context, key string) (kid string, err error) {
	if w.cfg.Rulings != nil {
		kid, err = w.cfg.Rulings.Active(key)
		if err != nil || kid != "" {
			return kid, err
		}
	}
	return w.cfg.Signer.CurrentKID(ctx)
}

// stateOf returns the state in which a key version is published.
func (w *Worker) stateOf(key, kid, current string) capsign.State {
	switch {
	case kid == current:
		return capsign.Active
	case w.cfg.Rulings != nil:
		return w.cfg.Rulings.State(key, kid)
	}
	return capsign.Accepted
}

// announceKey publishes a key version, unless it stands there already.
func (w *Worker) announceKey(ctx context.Context, key capsign.Key, state capsign.State) error {
	key.Pool, key.State = w.cfg.Pool, state
	data, err := key.Encode()
	if err != nil {
		return err
	}
	kv, err := w.js.KeyValue(ctx, capsign.KeysBucket)
	if err != nil {
		return fmt.Errorf("announce: %w", streamCode(err))
	}
	if entry, err := kv.Get(ctx, key.KID); err == nil && bytes.Equal(entry.Value(), data) {
		return nil
	}
	if _, err := kv.Put(ctx, key.KID, data); err != nil {
		return fmt.Errorf("announce: %w", streamCode(err))
	}
	return nil
}
