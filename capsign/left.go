package capsign

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Leave puts a run's messages on the queue and leaves them there: it yields each
// item once the broker has its request on disk, or with the error that kept it
// from being sent, and waits for no signature. The list of the items, by their
// Ref and Digest, lies on the broker then, so that [FetchRun] finds their
// outcomes from anywhere, by the run's id alone.
//
// note says what the digests mean, in the publisher's own words; readers get it
// with the list. The iteration ends early like [Run.Sign]'s. What it has queued
// is signed all the same, but nobody can ask for it: a run that was left in part
// cannot be taken up.
func (r *Run) Leave(ctx context.Context, note string, items iter.Seq[Item]) iter.Seq2[Signed, error] {
	return func(yield func(Signed, error) bool) {
		r.err = nil
		about := RunInfo{
			V: Version, ID: r.client.id, Tenant: r.client.cfg.Tenant, Pool: r.client.cfg.Pool, Key: r.client.cfg.Key,
			Note: note, Created: time.Now().UTC().Truncate(time.Millisecond),
		}
		line := &pipeline{size: newPackSize(cmp.Or(r.client.cfg.Pack, leftPack)), linger: runLinger, send: func(ctx context.Context, p *pack) {
			_, p.failed = r.client.traced(ctx, Bulk, len(p.items), func(ctx context.Context) (Result, error) {
				return Result{}, r.leave(ctx, p)
			})
		}}
		for p := range line.run(ctx, 0, r.client.cfg.Window, items) {
			if p.failed != nil {
				r.err = p.failed
				return
			}
			about.Items += len(p.items)
			for i := range p.items {
				if !yield(p.signed[i], p.errs[i]) {
					return
				}
			}
		}
		if ctx.Err() != nil {
			r.err = fmt.Errorf("capsign: run: %w (%w)", OutcomeUnknown, context.Cause(ctx))
			return
		}
		r.err = r.publish(ctx, runAbout, about)
	}
}

// leftPack is how many items a request gets that nobody waits for.
const leftPack = 256

// leave lists the items of a pack and puts their request on the queue.
func (r *Run) leave(ctx context.Context, p *pack) error {
	c := r.client
	ctx, cancel := context.WithTimeout(ctx, c.timeout(Bulk))
	defer cancel()
	part := RunPart{V: Version, ID: c.id, First: p.first}
	var cl *call
	if open := p.open(); len(open) > 0 {
		var err error
		cl, err = r.enter(ctx, p, open)
		switch {
		case CodeOf(err) == TooLarge:
			p.errs[open[0]] = err // it is alone
		case err != nil:
			return err
		default:
			deadline, _ := ctx.Deadline()
			part.N, part.Expires, part.BodySHA256 = lastNumber(cl.id), deadline.UTC().Truncate(time.Millisecond), cl.sum
		}
	}
	for i, item := range p.items {
		listed := RunItem{Ref: item.Ref, SHA256: item.Digest}
		if p.errs[i] != nil {
			listed.Code = CodeOf(p.errs[i])
		}
		part.Items = append(part.Items, listed)
	}
	if err := r.publish(ctx, strconv.Itoa(p.first), part); err != nil || part.N == 0 {
		return err
	}
	for i := range p.items {
		p.signed[i].RequestID = cl.id
	}
	return c.post(ctx, cl)
}

// post publishes a call's request until the broker has it on disk.
func (c *Client) post(ctx context.Context, cl *call) error {
	c.enter(cl)
	defer c.forget(cl)
	beat := time.NewTicker(recheck)
	defer beat.Stop()
	for {
		if err := c.publish(cl); err != nil {
			return cl.fail(BrokerUnreachable)
		}
		select {
		case <-cl.kept:
			return nil
		case <-cl.denied:
			return cl.fail(Denied)
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", cl.fail(c.silence(cl)), context.Cause(ctx))
		case <-beat.C:
		}
	}
}

// publishTries is how often a part of a run's list is published at most.
const publishTries = 5

// publish puts a document of the run's on the broker, and waits until it is on
// disk there.
func (r *Run) publish(ctx context.Context, name string, document any) error {
	body, err := encodeDocument(document)
	if err != nil {
		return err
	}
	subject := RunSubject(r.client.cfg.Tenant, r.client.id, name)
	var code Code
	for range publishTries {
		if code = r.client.store(ctx, subject, body); code == "" {
			return nil
		}
		select {
		case <-time.After(recheck):
		case <-ctx.Done():
			return fmt.Errorf("capsign: run: %w (%w)", OutcomeUnknown, context.Cause(ctx))
		}
	}
	return fmt.Errorf("capsign: run: list: %w", code)
}

// store publishes a document once and returns why the broker does not say that
// it has it on disk, or "".
func (c *Client) store(ctx context.Context, subject string, body []byte) Code {
	ctx, cancel := context.WithTimeout(ctx, 2*recheck)
	defer cancel()
	msg, err := c.nc.RequestWithContext(ctx, subject, body)
	var ack struct {
		Error json.RawMessage `json:"error"`
	}
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return QueueUnavailable // no server leads the stream now, or no worker has made it yet
	case err != nil:
		return BrokerUnreachable
	case json.Unmarshal(msg.Data, &ack) != nil || len(ack.Error) > 0:
		return QueueUnavailable // it is full
	}
	return ""
}
