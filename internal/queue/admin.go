package queue

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

// generateTimeout bounds the making of a key version: a cloud's HSM takes its
// time.
const generateTimeout = 2 * time.Minute

// adminGroup makes one of the pool's workers do what is asked of them.
const adminGroup = "workers"

// serveAdmin answers what operators ask: every worker for its state and its
// work, one of the pool's workers for a check or a further key version.
func (w *Worker) serveAdmin(context.Context) error {
	subscribe := func(subject, group string, answer func(context.Context) ([]byte, error)) error {
		sub, err := w.nc.QueueSubscribe(subject, group, func(msg *nats.Msg) {
			w.caring.Go(func() { w.answerAdmin(msg, answer) })
		})
		if err != nil {
			return capsign.BrokerUnreachable
		}
		w.subs = append(w.subs, sub)
		return nil
	}
	return cmp.Or(
		subscribe(capsign.WorkerSubject(w.cfg.Pool), "", func(context.Context) ([]byte, error) {
			return w.gate.describe(w.id).Encode()
		}),
		subscribe(capsign.StatsSubject(w.cfg.Pool), "", func(context.Context) ([]byte, error) { return w.stats().Encode() }),
		subscribe(capsign.AdminSubject(w.cfg.Pool, capsign.AdminCheck), adminGroup, w.checkKeys),
		subscribe(capsign.AdminSubject(w.cfg.Pool, capsign.AdminGenerate), adminGroup, w.generateKey),
	)
}

// answerAdmin sends an answer where an answer belongs: to an inbox. A worker may
// publish on subjects that no requester may choose.
func (w *Worker) answerAdmin(msg *nats.Msg, answer func(context.Context) ([]byte, error)) {
	if !isInbox(msg.Reply) {
		return
	}
	if data, err := answer(w.care); err == nil {
		_ = msg.Respond(data) // nobody waits for it any more, if it fails
	}
}

// isInbox reports whether an answer on subject can be nothing but an answer.
func isInbox(subject string) bool { return strings.HasPrefix(subject, "_INBOX") }

// checkKeys signs a canary with every key version.
func (w *Worker) checkKeys(ctx context.Context) ([]byte, error) {
	reply := capsign.AdminReply{V: capsign.Version}
	keys := w.keys.all()
	for _, kid := range slices.Sorted(maps.Keys(keys)) {
		began := time.Now()
		err := w.canary(ctx, keys[kid])
		check := capsign.KeyCheck{KID: kid, Seconds: time.Since(began).Seconds()}
		if err != nil {
			check.Code = capsign.CodeOf(err)
		}
		reply.Checks = append(reply.Checks, check)
	}
	return reply.Encode()
}

// generateKey makes a further key version, if the configuration lets it.
func (w *Worker) generateKey(ctx context.Context) ([]byte, error) {
	reply := capsign.AdminReply{V: capsign.Version}
	kid, err := w.generate(ctx)
	if err != nil {
		reply.Code = capsign.CodeOf(err)
		w.cfg.Log.WarnContext(ctx, "no key version was made", "code", string(reply.Code))
	} else {
		reply.KID = kid
		w.cfg.Log.InfoContext(ctx, "key version made", "kid", kid)
	}
	return reply.Encode()
}

// generate does generateKey's work.
func (w *Worker) generate(ctx context.Context) (kid string, err error) {
	if w.cfg.Versions == nil || !w.cfg.AllowGenerate {
		return "", fmt.Errorf("queue: generate: %w", capsign.Denied)
	}
	if code := w.gate.code(); code.Fate() == capsign.FateLatched {
		return "", fmt.Errorf("queue: generate: %w", code)
	}
	ctx, cancel := context.WithTimeout(ctx, generateTimeout)
	defer cancel()
	if kid, err = w.cfg.Versions.Generate(ctx); err != nil {
		return "", err
	}
	key, err := w.cfg.Versions.PublicKey(ctx, kid)
	if err != nil {
		return "", err
	}
	w.keys.add(key)
	return kid, w.announceKey(ctx, key, capsign.Accepted)
}

// watchKeys follows the published keys: a version of the pool's that another
// worker has made is looked for in the backend, and signs here too.
func (w *Worker) watchKeys(ctx context.Context) error {
	if w.cfg.Versions == nil {
		return nil
	}
	kv, err := w.js.KeyValue(ctx, capsign.KeysBucket)
	if err != nil {
		return fmt.Errorf("watch keys: %w", streamCode(err))
	}
	watcher, err := kv.WatchAll(w.care, jetstream.UpdatesOnly()) //nolint:contextcheck // the watch outlives ctx
	if err != nil {
		return fmt.Errorf("watch keys: %w", streamCode(err))
	}
	w.caring.Go(func() { //nolint:contextcheck // likewise
		defer watcher.Stop() //nolint:errcheck // the connection is closed, if it fails
		for {
			select {
			case entry, open := <-watcher.Updates():
				if !open {
					return
				}
				w.learn(entry)
			case <-w.care.Done():
				return
			}
		}
	})
	return nil
}

// watchSigner publishes anew what has changed by itself: the key that signs, or
// keys that the signer did not know before.
func (w *Worker) watchSigner(context.Context) error {
	var ruled <-chan struct{}
	if w.cfg.Rulings != nil {
		ruled = w.cfg.Rulings.Changed()
	}
	w.caring.Go(func() {
		for {
			select {
			case <-w.cfg.Changed: // never, where it is nil
				w.relist(w.care)
			case <-ruled: // likewise
				w.relist(w.care)
			case <-w.care.Done():
				return
			}
		}
	})
	return nil
}

// relist takes over all keys that the signer has and publishes them.
func (w *Worker) relist(ctx context.Context) {
	err := w.takeOver(ctx)
	if err == nil {
		err = w.announce(ctx)
	}
	if err != nil {
		w.cfg.Log.WarnContext(ctx, "the changed keys cannot be told", "code", string(capsign.CodeOf(err)))
	}
}

// takeOver holds all keys that the signer has, and publishes those that are new.
func (w *Worker) takeOver(ctx context.Context) error {
	if w.cfg.Versions == nil {
		return nil
	}
	kids, err := w.cfg.Versions.ListKIDs(ctx)
	if err != nil {
		return err
	}
	for _, kid := range kids {
		if _, known := w.keys.get(kid); known {
			continue
		}
		key, err := w.cfg.Versions.PublicKey(ctx, kid)
		if err != nil {
			return err
		}
		if err := w.announceKey(ctx, key, w.stateOf(key.Name, kid, "")); err != nil {
			return err
		}
		w.keys.add(key)
	}
	return nil
}

// learn takes over a key version that was published by another of the pool's
// workers.
func (w *Worker) learn(entry jetstream.KeyValueEntry) {
	if entry == nil || entry.Operation() != jetstream.KeyValuePut {
		return
	}
	key, err := capsign.DecodeKey(entry.Value())
	if _, known := w.keys.get(key.KID); err != nil || known || key.Pool != w.cfg.Pool {
		return
	}
	ctx, cancel := context.WithTimeout(w.care, generateTimeout)
	defer cancel()
	if err = w.cfg.Versions.Reload(ctx); err == nil {
		key, err = w.cfg.Versions.PublicKey(ctx, key.KID)
	}
	if err != nil {
		w.cfg.Log.WarnContext(ctx, "a key version of the pool's is not in this worker's backend", "kid", entry.Key(), "code", string(capsign.CodeOf(err)))
		return
	}
	w.keys.add(key)
}
