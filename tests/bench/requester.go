package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

// perRequest is how many items a request of a backlog has unless told otherwise,
// as many as Client.SignAll packs.
const perRequest = 256

// requester publishes requests to the default pool as capsign.Client does, but
// waits for none of them: a backlog is work that nobody holds in his hands.
type requester struct {
	js     jetstream.JetStream
	client string
	per    int // items in a request
	sent   uint64
	failed atomic.Pointer[error] // an unacknowledged publication, or a refusal
	// signed counts the items of the results that have come.
	signed atomic.Int64
	// heard is told each result as it comes; it must not block.
	heard func(n uint64)
}

// newRequester returns a requester over nc, whose results heard is told, unless
// it is nil.
func newRequester(nc *nats.Conn, heard func(n uint64)) (*requester, error) {
	r := &requester{client: capsign.NewClientID(), per: perRequest, heard: heard}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(inFlight),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) { r.failed.Store(&err) }))
	if err != nil {
		return nil, err
	}
	r.js = js
	sub, err := nc.Subscribe(capsign.ResultSubject(capsign.TenantLocal, r.client+".*"), r.receive)
	if err != nil {
		return nil, err
	}
	return r, sub.SetPendingLimits(-1, -1)
}

// receive counts one result. A refusal as a whole has no signature.
func (r *requester) receive(msg *nats.Msg) {
	items := bytes.Count(msg.Data, []byte(`"signature"`))
	n, err := strconv.ParseUint(msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:], 10, 64)
	if items == 0 || err != nil {
		err = errors.Join(fmt.Errorf("a request was refused: %.200s", msg.Data), err)
		r.failed.Store(&err)
		return
	}
	r.signed.Add(int64(items))
	if r.heard != nil {
		r.heard(n)
	}
}

// publish puts one request on a lane and returns its number. Empty kid means
// the current key version.
func (r *requester) publish(lane capsign.Lane, kid string, items [][]byte) (n uint64, err error) {
	r.sent++
	req := capsign.Request{
		V: capsign.Version, ID: capsign.RequestID(r.client, r.sent), Expires: time.Now().Add(time.Hour).UTC(),
		Tenant: capsign.TenantLocal, Pool: "default", Key: "cap-signing", KID: kid, Scheme: capsign.SchemeRaw, Items: items,
	}
	body, err := req.Encode()
	if err != nil {
		return 0, err
	}
	subject := capsign.JobSubject(req.Tenant, req.Pool, lane, req.Key)
	_, err = r.js.PublishAsync(subject, body, jetstream.WithStallWait(patience))
	return r.sent, err
}

// fill publishes so many items in bulk, in the names of the kids in turn, and
// returns when the broker has them all.
func (r *requester) fill(ctx context.Context, messages [][]byte, items int, kids ...string) error {
	for at := 0; at < items; at += r.per {
		kid := ""
		if len(kids) > 0 {
			kid = kids[at/r.per%len(kids)]
		}
		from := at % (len(messages) - r.per + 1)
		if _, err := r.publish(capsign.Bulk, kid, messages[from:from+min(r.per, items-at)]); err != nil {
			return err
		}
	}
	return r.stored(ctx)
}

// stored waits until the broker has all that was published.
func (r *requester) stored(ctx context.Context) error {
	select {
	case <-r.js.PublishAsyncComplete():
		return r.err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// err returns what went wrong so far.
func (r *requester) err() error {
	if err := r.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// await waits until n items are signed.
func (r *requester) await(ctx context.Context, n int64) error {
	for r.signed.Load() < n {
		if err := r.err(); err != nil {
			return err
		}
		if err := pauseFor(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d items signed: %w", r.signed.Load(), n, err)
		}
	}
	return r.err()
}

// pauseFor waits for d or until ctx ends.
func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
