package capsign

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// recheck is how often a waiting call reads the results store and, until the
	// broker has acknowledged it, publishes its request again.
	recheck = time.Second
	// lastLook bounds the one read of the store after a call's deadline.
	lastLook = time.Second
)

// call is one request in flight.
type call struct {
	id, subject string
	items       int
	body        []byte      // nil where nothing is to be published
	sum         string      // the body's hash
	header      nats.Header // trace context, nil unless sampled
	published   bool        // once or more often, by this process or another
	reply       string      // where the broker acknowledges the publication

	answer  chan []byte // the result's body; holds one
	denied  chan struct{}
	kept    chan struct{} // speaks once the broker has stored the request
	acked   atomic.Bool   // the broker has stored the request
	refused atomic.Bool   // the broker has refused to store it, so far
}

// exchange sends one request and waits for its result, which is none that
// refuses the request as a whole.
func (c *Client) exchange(ctx context.Context, lane Lane, kid string, items [][]byte) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout(lane))
	defer cancel()
	deadline, _ := ctx.Deadline()
	return c.traced(ctx, lane, len(items), func(ctx context.Context) (Result, error) {
		cl, err := c.newCall(ctx, lane, c.request(c.sent.Add(1), deadline, kid, items))
		if err != nil {
			return Result{}, err
		}
		res, err := c.await(ctx, lane, cl)
		if err == nil && res.Code != "" {
			return Result{}, cl.fail(res.Code)
		}
		return res, err
	})
}

// traced has the span and the metrics of a request tell of do.
func (c *Client) traced(ctx context.Context, lane Lane, items int, do func(context.Context) (Result, error)) (_ Result, err error) {
	ctx, span := c.telemetry.startPublish(ctx, lane, items)
	defer func(began time.Time) {
		endSpan(span, err)
		c.telemetry.exchanged(ctx, lane, began, err)
	}(time.Now())
	return do(ctx)
}

// await publishes a call's request and waits for its result, which may refuse
// the request as a whole. It subscribes before it publishes, publishes the same
// body again until the broker has it, and reads the store, for a result repeated
// on a subject can be missed and a stored one cannot.
func (c *Client) await(ctx context.Context, lane Lane, cl *call) (Result, error) {
	c.enter(cl)
	defer c.forget(cl)
	if pool, _ := c.pools.get(c.cfg.Pool); stops(pool, lane) {
		return Result{}, cl.fail(pool.Code)
	}
	if err := c.publish(cl); err != nil {
		return Result{}, cl.fail(BrokerUnreachable)
	}
	// A beat of its own: what changes meanwhile must not put it off.
	beat := time.NewTicker(recheck)
	defer beat.Stop()
	for {
		pool, changed := c.pools.get(c.cfg.Pool)
		if stops(pool, lane) {
			return Result{}, cl.fail(pool.Code)
		}
		select {
		case body := <-cl.answer:
			return cl.accept(body)
		case <-cl.denied:
			return Result{}, cl.fail(Denied)
		case <-ctx.Done():
			return c.giveUp(ctx, cl)
		case <-changed:
		case <-beat.C:
			if err := c.publish(cl); err != nil {
				return Result{}, cl.fail(BrokerUnreachable)
			}
		}
		if body := c.readStored(ctx, cl); body != nil {
			return cl.accept(body)
		}
	}
}

// stops reports whether a pool's state ends a call. A pipeline waits for a
// pool that comes back by itself; a person is told at once.
func stops(pool Pool, lane Lane) bool {
	return pool.State == PoolPaused && (lane == Express || !pool.Code.Retryable())
}

// timeout returns how long a call on lane may take.
func (c *Client) timeout(lane Lane) time.Duration {
	switch {
	case c.cfg.Timeout > 0:
		return c.cfg.Timeout
	case lane == Express:
		return 30 * time.Second
	}
	return 15 * time.Minute
}

// request returns the n-th request of the client.
func (c *Client) request(n uint64, expires time.Time, kid string, items [][]byte) Request {
	return Request{
		V: Version, ID: RequestID(c.id, n), Expires: expires.UTC().Truncate(time.Millisecond),
		Tenant: c.cfg.Tenant, Pool: c.cfg.Pool, Key: c.cfg.Key, KID: kid,
		Scheme: SchemeRaw, Items: items,
	}
}

// newCall returns the call of a request.
func (c *Client) newCall(ctx context.Context, lane Lane, req Request) (*call, error) {
	for _, item := range req.Items {
		if len(item) > MaxMessageSize {
			return nil, fmt.Errorf("capsign: message of %d bytes: %w", len(item), TooLarge)
		}
	}
	body, err := req.Encode()
	if err != nil {
		return nil, err
	}
	cl := c.callOf(lastNumber(req.ID), len(req.Items), BodySHA256(body))
	cl.subject, cl.body = JobSubject(req.Tenant, req.Pool, lane, req.Key), body
	cl.header = SampledHeader(ctx)
	return cl, nil
}

// callOf returns a call that publishes nothing: what it is answered with must
// belong to a body of that hash, and have so many outcomes.
func (c *Client) callOf(n uint64, items int, sum string) *call {
	return &call{
		id: RequestID(c.id, n), items: items, sum: sum, reply: c.acks + "." + strconv.FormatUint(n, 10),
		answer: make(chan []byte, 1), denied: make(chan struct{}), kept: make(chan struct{}, 1),
	}
}

// enter puts a call among those in flight.
func (c *Client) enter(cl *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[lastNumber(cl.reply)] = cl
}

// forget takes a call out of those in flight.
func (c *Client) forget(cl *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, lastNumber(cl.reply))
}

// inFlight returns the call that a subject's last token numbers, or nil.
func (c *Client) inFlight(subject string) *call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[lastNumber(subject)]
}

// lastNumber reads a subject's last token; no call has number 0.
func lastNumber(subject string) uint64 {
	n, err := strconv.ParseUint(subject[strings.LastIndexByte(subject, '.')+1:], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// publish puts the call's request on the queue unless the broker has it.
func (c *Client) publish(cl *call) error {
	if cl.acked.Load() || cl.body == nil {
		return nil
	}
	if cl.published {
		cl.header = maps.Clone(cl.header)
		if cl.header == nil {
			cl.header = nats.Header{}
		}
		cl.header.Set(HeaderAgain, "1")
	}
	cl.published = true
	msg := nats.Msg{Subject: cl.subject, Reply: cl.reply, Header: cl.header, Data: cl.body}
	return c.nc.PublishMsg(&msg)
}

// onResult takes a result that the store has repeated.
func (c *Client) onResult(msg *nats.Msg) {
	if cl := c.inFlight(msg.Subject); cl != nil {
		select {
		case cl.answer <- msg.Data:
		default: // answered already
		}
	}
}

// onAck takes the broker's answer to a publication: a sequence number, an
// error, or a header saying that no stream listens on the subject.
func (c *Client) onAck(msg *nats.Msg) {
	cl := c.inFlight(msg.Subject)
	if cl == nil {
		return
	}
	var ack struct {
		Error json.RawMessage `json:"error"`
	}
	refused := len(msg.Data) == 0 || bytes.Contains(msg.Data, []byte(`"error"`)) &&
		(json.Unmarshal(msg.Data, &ack) != nil || ack.Error != nil)
	cl.refused.Store(refused)
	cl.acked.Store(!refused)
	if !refused {
		select {
		case cl.kept <- struct{}{}:
		default: // said already
		}
	}
}

// readStored returns the body of the call's result, or nil where the store has
// none or cannot be asked now.
func (c *Client) readStored(ctx context.Context, cl *call) []byte {
	ctx, cancel := context.WithTimeout(ctx, lastLook)
	defer cancel()
	msg, err := c.nc.RequestWithContext(ctx, directGet+StoreSubject(c.cfg.Tenant, cl.id), nil)
	if err != nil || msg.Header.Get("Status") != "" {
		return nil
	}
	return msg.Data
}

// directGet is the prefix that reads the last message of a results subject.
const directGet = "$JS.API.DIRECT.GET." + ResultsStream + "."

// giveUp looks into the store once more and says why nothing came.
func (c *Client) giveUp(ctx context.Context, cl *call) (Result, error) {
	if body := c.readStored(context.WithoutCancel(ctx), cl); body != nil {
		return cl.accept(body)
	}
	code := c.silence(cl)
	if pool, _ := c.pools.get(c.cfg.Pool); pool.State == PoolPaused {
		code = pool.Code // the request has expired with ctx: nobody will sign it
	}
	return Result{}, fmt.Errorf("%w (%w)", cl.fail(code), context.Cause(ctx))
}

// silence returns what there is to say of a call that was not answered.
func (c *Client) silence(cl *call) Code {
	switch {
	case cl.acked.Load():
		return ResultTimeout
	case cl.refused.Load():
		return QueueUnavailable
	case !c.nc.IsConnected():
		return BrokerUnreachable
	}
	return OutcomeUnknown
}

// accept reads a result's body: it must answer this very request, with a refusal
// or with one outcome for each item.
func (cl *call) accept(body []byte) (Result, error) {
	res, err := DecodeResult(body)
	switch {
	case err != nil || res.ID != cl.id:
		return Result{}, cl.fail(Integrity)
	case res.RequestSHA256 != cl.sum:
		return Result{}, cl.fail(IDConflict)
	case res.Code == "" && len(res.Outcomes) != cl.items:
		return Result{}, cl.fail(Integrity)
	}
	return res, nil
}

// fail returns the error of a call that ended with code.
func (cl *call) fail(code Code) error {
	return fmt.Errorf("capsign: request %s: %w", cl.id, code)
}

// watchPermissions turns the broker's word that a publication is not allowed,
// which comes without saying for which message, into the end of the calls that
// publish on that subject. The handler stays in nc's chain of handlers after
// Close, where it finds no calls to end: taking it out could take out another's.
func (c *Client) watchPermissions() {
	before := c.nc.ErrorHandler()
	c.nc.SetErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			c.deny(err.Error())
		}
		if before != nil {
			before(nc, sub, err)
		}
	})
}

// deny ends the calls whose subject a permission violation quotes.
func (c *Client) deny(violation string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n, cl := range c.calls {
		if strings.Contains(violation, `Publish to "`+cl.subject+`"`) {
			close(cl.denied)
			delete(c.calls, n)
		}
	}
}
