package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/audit"
)

// handle is one request's whole life: decode, already answered, deadline, may this
// key sign this, is the gate open, sign, verify, audit, store the result,
// acknowledge. Only a stored result lets the message go; a temporary fault gives
// it back for later.
func (w *Worker) handle(ctx context.Context, l *lane, msg *nats.Msg) {
	began := time.Now()
	waited := waitedFor(msg, began)
	ctx, span := w.startProcess(ctx, l.name, msg, waited)
	w.metrics.taken(ctx, l.name, waited)
	code := w.process(ctx, l, msg)
	endProcess(span, code)
	w.metrics.processed(ctx, l.name, code, time.Since(began))
	w.tally.processed(l.name, code, began)
	if code != "" {
		w.cfg.Log.WarnContext(ctx, "request refused", "code", string(code), "lane", string(l.name))
	}
}

// process does handle's work and returns the code of a refusal, or "" where
// every item has its outcome.
func (w *Worker) process(ctx context.Context, l *lane, msg *nats.Msg) (code capsign.Code) {
	waiting := true // takes up the lane's room, until signed
	defer func() {
		if waiting {
			l.pull.release()
		}
	}()

	job, err := capsign.ParseJobSubject(msg.Subject)
	if err != nil {
		return w.discard(ctx, msg, "", err)
	}
	req, err := capsign.DecodeRequest(msg.Data)
	if req.ID == "" {
		return w.discard(ctx, msg, "", err) // nothing to answer under
	}
	counted(ctx, len(req.Items))
	delivered := deliveries(msg)
	if (delivered > 1 || isAgain(msg)) && w.results.has(ctx, capsign.StoreSubject(job.Tenant, req.ID)) {
		_ = msg.Ack()
		return ""
	}

	var res capsign.Result
	if err == nil && delivered > w.cfg.MaxDeliveries {
		err = fmt.Errorf("queue: delivery %d: %w", delivered, capsign.RetriesExhausted)
	}
	if err == nil {
		res, err = w.answer(ctx, l, job, req)
	}
	if err != nil {
		code = capsign.CodeOf(err)
		if comesBack(code) {
			_ = msg.NakWithDelay(backoff(delivered)) // unsent, it is redelivered after AckWait
			return code
		}
		res = capsign.Result{Code: code}
	}
	res.V, res.ID, res.RequestSHA256 = capsign.Version, req.ID, capsign.BodySHA256(msg.Data)

	waiting = false
	l.signed(ctx)
	defer l.stored()
	err = nil
	if res.KID != "" {
		err = w.mayStillSign(job.Key, res.KID) // since it began, time has passed
	}
	if err == nil {
		err = w.release(ctx, job, req, delivered, res)
	}
	if err != nil {
		if errors.Is(err, capsign.AuditUnavailable) {
			w.fault(ctx, err)
		}
		_ = msg.NakWithDelay(backoff(delivered))
		return capsign.CodeOf(err)
	}
	if code == capsign.RetriesExhausted {
		return w.discard(ctx, msg, req.ID, code)
	}
	_ = msg.Ack() // unsent, it gives a redelivery, which finds the result
	return code
}

// release records the decision, then puts the result where the requester and
// everybody else sees it. Without the record there is no result.
func (w *Worker) release(ctx context.Context, job capsign.Job, req capsign.Request, delivered int, res capsign.Result) error {
	body, err := res.Encode()
	if err != nil {
		return err
	}
	err = w.record(ctx, audit.Record{
		RequestID: req.ID, Tenant: job.Tenant, Pool: job.Pool, Key: job.Key, KID: res.KID, Items: len(req.Items),
		Delivery: delivered, Code: res.Code, RequestSHA256: res.RequestSHA256, ResultSHA256: capsign.BodySHA256(body),
	})
	if err != nil {
		return err
	}
	ctx, span := startStore(ctx)
	err = w.results.put(ctx, capsign.StoreSubject(job.Tenant, req.ID), body, req.Expires)
	endSpan(span, err)
	return err
}

// record writes a decision into the audit log, where there is one.
func (w *Worker) record(ctx context.Context, decision audit.Record) error {
	if w.cfg.Audit == nil {
		return nil
	}
	ctx, span := startAudit(ctx)
	err := w.cfg.Audit.Append(ctx, decision)
	endSpan(span, err)
	return err
}

// answer decides whether the request may be signed and has it signed.
func (w *Worker) answer(ctx context.Context, l *lane, job capsign.Job, req capsign.Request) (capsign.Result, error) {
	now := time.Now()
	if !now.Before(req.Expires) {
		return capsign.Result{}, capsign.RequestExpired
	}
	if req.Expires.Sub(now) > w.cfg.ResultKeep {
		return capsign.Result{}, capsign.ExpiryTooFar
	}
	key, err := w.authorize(ctx, job, req)
	if err == nil {
		err = w.fits(req.Items)
	}
	if err != nil {
		if comesBack(capsign.CodeOf(err)) {
			w.fault(ctx, err)
		}
		return capsign.Result{}, err
	}
	ctx, cancel := context.WithDeadline(ctx, req.Expires)
	defer cancel()
	outcomes, err := w.signItems(ctx, l, key, req.Items)
	if err != nil {
		return capsign.Result{}, err
	}
	return capsign.Result{KID: key.KID, Alg: key.Alg, Outcomes: outcomes}, nil
}

// authorize decides which key version signs the request, if any may. The
// subject is what the broker let the requester publish on; the body must ask
// for the same.
func (w *Worker) authorize(ctx context.Context, job capsign.Job, req capsign.Request) (capsign.Key, error) {
	if req.Tenant != job.Tenant || req.Pool != job.Pool || req.Key != job.Key || req.Pool != w.cfg.Pool {
		return capsign.Key{}, fmt.Errorf("queue: body and subject differ: %w", capsign.Denied)
	}
	kid := req.KID
	if kid == "" {
		current, err := w.current(ctx, req.Key)
		if err != nil {
			return capsign.Key{}, err
		}
		kid = current
	} else if err := w.mayStillSign(req.Key, kid); err != nil {
		return capsign.Key{}, err
	}
	key, known := w.keys.get(kid)
	switch {
	case known && key.Name == req.Key:
		return key, nil
	case req.KID != "":
		return capsign.Key{}, capsign.KIDUnknown
	case !w.keys.named(req.Key):
		return capsign.Key{}, capsign.KeyUnknown
	}
	return capsign.Key{}, capsign.KeyNotHeld
}

// mayStillSign says whether a kid may sign for a key now.
func (w *Worker) mayStillSign(key, kid string) error {
	if w.cfg.Rulings == nil {
		return nil
	}
	return w.cfg.Rulings.MaySign(key, kid)
}

// fits says whether the worker signs items of this kind: keyrings are for roots,
// and nothing else is.
func (w *Worker) fits(items [][]byte) error {
	for _, item := range items {
		if capsign.IsKeyringInput(item) != w.cfg.Root {
			return fmt.Errorf("queue: keyrings and messages do not mix: %w", capsign.Denied)
		}
	}
	return nil
}

// discard keeps a message that can have no result, or no more tries, as a dead
// letter and takes it out of the queue.
func (w *Worker) discard(ctx context.Context, msg *nats.Msg, id string, err error) capsign.Code {
	code := capsign.CodeOf(err)
	if w.dead.keep(ctx, w.cfg.Pool, id, code, msg) != nil {
		_ = msg.NakWithDelay(time.Second)
		return code
	}
	_ = msg.Term() // unsent, the message comes back and is discarded again
	return code
}

// comesBack reports whether the message of a request refused with code is left
// in the queue.
func comesBack(code capsign.Code) bool {
	fate := code.Fate()
	return fate == capsign.FateRedelivered || fate == capsign.FateHeld || fate == capsign.FateLatched
}

// isAgain reports whether the requester may have published the message before.
func isAgain(msg *nats.Msg) bool { return msg.Header.Get(capsign.HeaderAgain) != "" }

// deliveries returns how often the message was delivered, this time included.
func deliveries(msg *nats.Msg) int {
	meta, err := msg.Metadata()
	if err != nil {
		return 1
	}
	return int(min(meta.NumDelivered, 1<<30))
}

// waitedFor returns how long ago the broker stored a message. Its clock and ours
// may differ by as much as a worker puts up with: it can be negative.
func waitedFor(msg *nats.Msg, now time.Time) time.Duration {
	meta, err := msg.Metadata()
	if err != nil {
		return 0
	}
	return now.Sub(meta.Timestamp)
}

// backoff returns the delay before the next delivery after n of them: a tenth
// of a second, doubling to ten seconds, or up to half of that less, so that what
// came back together does not come back together again.
func backoff(n int) time.Duration {
	return spread(min(100*time.Millisecond<<min(n-1, 10), 10*time.Second))
}

// spread returns a random time between half of d and d.
func spread(d time.Duration) time.Duration { return d - rand.N(d/2+1) } //nolint:gosec // no secret
