package capsign

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// replayPrefix begins the client ids of replays.
	replayPrefix = "replay-"
	// maxReplays bounds under how many ids one request is asked for again.
	maxReplays = 1000
)

// Replayed is the outcome of a [Replay].
type Replayed struct {
	// Result answers the request, with outcomes for all items; each signature was
	// verified.
	Result Result
	// Earlier says that the result was there already: of a call before this one,
	// or of the request's own id. Nothing was asked for.
	Earlier bool
}

// Replay has the items of a request signed that was given up, on a lane, and
// waits for the result at most for so long. body is the request's, byte for byte;
// its id is spent, as its refusal is stored for good.
//
// The ids under which Replay asks follow from the request, and it looks for their
// results before it asks: as long as results are kept, what was signed once is
// found again and not signed under another id, wherever a call was interrupted
// and by whom. A refusal of a call before this one does not count. A request that
// is itself a replay shares the ids of the first one.
//
// Errors wrap one [Code]: that of [DecodeRequest] where the body is no request,
// otherwise those of [NewClient] and [Client.Sign]. [IDConflict] says that
// somebody else has a result under such an id.
func Replay(ctx context.Context, nc *nats.Conn, lane Lane, body []byte, timeout time.Duration) (Replayed, error) {
	req, err := DecodeRequest(body)
	if err != nil {
		return Replayed{}, fmt.Errorf("capsign: replay: %w", err)
	}
	asker, err := NewClient(ctx, nc, ClientConfig{
		Tenant: req.Tenant, Pool: req.Pool, Key: req.Key, KID: req.KID, Timeout: timeout,
	})
	if err != nil {
		return Replayed{}, err
	}
	defer asker.Close()
	c, err := asker.as(replayClient(req, body))
	if err != nil {
		return Replayed{}, fmt.Errorf("capsign: replay: %w", err)
	}
	defer c.Close()
	return c.replay(ctx, lane, req, body)
}

// replayClient returns the client id of a request's replays. Nobody who does not
// know the request can tell it.
func replayClient(req Request, body []byte) string {
	client, _, _ := strings.Cut(req.ID, ".")
	if strings.HasPrefix(client, replayPrefix) {
		return client
	}
	sum := sha256.Sum256(body)
	return (replayPrefix + base64.RawURLEncoding.EncodeToString(sum[:]))[:clientIDLen]
}

// replay returns the first result that signs the request, and asks for one under
// the first id that has none.
func (c *Client) replay(ctx context.Context, lane Lane, req Request, body []byte) (Replayed, error) {
	res, err := c.stored(ctx, c.callOf(0, len(req.Items), BodySHA256(body)).under(req.ID))
	if err != nil {
		return Replayed{}, err
	}
	if res.KID != "" {
		return c.replayed(ctx, res, req, true)
	}
	for n := uint64(1); n <= maxReplays; n++ {
		res, err := c.stored(ctx, c.callOf(n, len(req.Items), ""))
		if err == nil && res.V == 0 {
			res, err = c.askAgain(ctx, lane, n, req)
			if err == nil {
				return c.replayed(ctx, res, req, false)
			}
			if errors.Is(err, IDConflict) { // a call before this one was still in the queue
				res, err = c.stored(ctx, c.callOf(n, len(req.Items), ""))
			}
		}
		if err != nil {
			return Replayed{}, err
		}
		if res.KID != "" {
			return c.replayed(ctx, res, req, true)
		}
	}
	return Replayed{}, fmt.Errorf("capsign: replay: %w", RetriesExhausted)
}

// stored returns the result that the store has for a call, the zero Result where
// it has none. Its hash matters only where the call has one.
func (c *Client) stored(ctx context.Context, cl *call) (Result, error) {
	body, err := c.lookUp(ctx, cl)
	if err != nil || body == nil {
		return Result{}, err
	}
	if cl.sum == "" {
		if res, err := DecodeResult(body); err == nil {
			cl.sum = res.RequestSHA256
		}
	}
	return cl.accept(body)
}

// under has a call be of another client's id.
func (cl *call) under(id string) *call {
	cl.id = id
	return cl
}

// askAgain sends the n-th request for the items of one that was given up. A
// refusal is an error.
func (c *Client) askAgain(ctx context.Context, lane Lane, n uint64, given Request) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout(lane))
	defer cancel()
	deadline, _ := ctx.Deadline()
	return c.traced(ctx, lane, len(given.Items), func(ctx context.Context) (Result, error) {
		cl, err := c.newCall(ctx, lane, c.request(n, deadline, given.KID, given.Items))
		if err != nil {
			return Result{}, err
		}
		res, err := c.await(ctx, lane, cl)
		if err == nil && res.Code != "" {
			err = cl.fail(res.Code)
		}
		if err != nil {
			return Result{}, err
		}
		return res, nil
	})
}

// replayed returns a result once each of its signatures was verified against its
// item.
func (c *Client) replayed(ctx context.Context, res Result, req Request, earlier bool) (Replayed, error) {
	for i, outcome := range res.Outcomes {
		if outcome.Code != "" {
			continue
		}
		if err := c.check(ctx, res, req.Items[i], outcome.Signature); err != nil {
			return Replayed{}, fmt.Errorf("capsign: request %s: item %d: %w", res.ID, i, err)
		}
	}
	return Replayed{Result: res, Earlier: earlier}, nil
}
