package capsign

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"
)

// clockMargin is how long after a request's expiry nobody can be about to store
// a signature for it any more: what clocks may differ, and what the store may
// take.
const clockMargin = 10 * time.Second

// Run has many messages signed under one client id and can be taken up again,
// in another process, after any kind of end: what was asked for already is asked
// for again with the same ids and byte for byte, and the write-once results make
// sure that it is not signed twice.
//
// The publisher keeps three things: the id, the [Journal], and how many outcomes
// it has noted, from the first item on. The items must come in the same order
// each time. What the client is configured for must stay the same as well.
type Run struct {
	client  *Client // its id is the run's
	journal Journal
	asked   map[int][]Entry // by First; what must be asked for again
	starts  []int           // the keys of asked, in order
	err     error

	mu sync.Mutex // one request after the other is entered into the journal
}

// NewRun returns the run of that id, which [NewClientID] has made, or prepares
// to take it up again where the journal has entries. It wraps [BadRequest] where
// they cannot be a run's, or what the journal says. Without a journal, the run
// cannot be taken up again. Close ends it.
func (c *Client) NewRun(id string, journal Journal) (*Run, error) {
	if err := CheckRequestID(id + ".1"); err != nil {
		return nil, fmt.Errorf("capsign: run: %w", BadRequest)
	}
	own, err := c.as(id)
	if err != nil {
		return nil, fmt.Errorf("capsign: run: %w", err)
	}
	return &Run{client: own, journal: journal}, nil
}

// as returns a client of another id, which shares all else with c and must be
// closed before it.
func (c *Client) as(id string) (*Client, error) {
	own := &Client{
		nc: c.nc, cfg: c.cfg, id: id, telemetry: c.telemetry, pools: c.pools,
		keys: c.keys, size: c.size, calls: make(map[uint64]*call),
	}
	if err := own.listen(); err != nil {
		own.Close()
		return nil, err
	}
	return own, nil
}

// ID returns the run's id.
func (r *Run) ID() string { return r.client.id }

// Close ends the run's subscriptions. Its client is the caller's.
func (r *Run) Close() { r.client.Close() }

// Sign signs a run's messages like [Client.SignAll] and yields one outcome for
// each but the first done, which have theirs. items returns the items from the
// given index on, which is done or less: where a request has to be sent again,
// that takes all of its items.
//
// Only what concerns an item itself is an outcome. A failure that concerns
// whatever might be asked for, such as a pool that an operator has paused or a
// result that does not come in time, ends the iteration, and Err returns it; so
// does the end of ctx. The run can then be taken up where it was.
//
// A message that differs from what was sent under its index before is not sent
// again: its outcome is [ArtifactChanged]. A request that has expired without a
// result, or that was refused as a whole by the time the run is taken up again,
// has no signatures and will have none; its items are asked for anew.
func (r *Run) Sign(ctx context.Context, done int, items func(from int) iter.Seq[Item]) iter.Seq2[Signed, error] {
	return func(yield func(Signed, error) bool) {
		first, err := r.recall(done)
		if err != nil {
			r.err = err
			return
		}
		line := &pipeline{size: r.client.size, linger: runLinger, plan: r.plan, send: func(ctx context.Context, p *pack) {
			p.failed = r.sign(ctx, p, done-p.first)
		}}
		for p := range line.run(ctx, first, r.client.cfg.Window, items(first)) {
			if p.failed != nil {
				r.err = p.failed
				return
			}
			for i := max(done-p.first, 0); i < len(p.items); i++ {
				if !yield(p.signed[i], p.errs[i]) {
					return
				}
			}
		}
		if ctx.Err() != nil {
			r.err = fmt.Errorf("capsign: run: %w (%w)", OutcomeUnknown, context.Cause(ctx))
		}
	}
}

// Err returns why the last Sign or Leave ended before the items did, or nil.
func (r *Run) Err() error { return r.err }

// recall reads from the journal what must be asked for again, given how many
// items have their outcome, and returns the index of the first item that takes.
func (r *Run) recall(done int) (first int, err error) {
	r.err, r.asked = nil, make(map[int][]Entry)
	first = done
	if r.journal == nil {
		return first, r.order()
	}
	var last uint64
	for entry, err := range r.journal.Entries() {
		if err == nil {
			err = entry.Check()
		}
		if err != nil {
			return 0, fmt.Errorf("capsign: run: %w", err)
		}
		last = max(last, entry.N)
		if entry.end() > done {
			first = min(first, entry.First)
			r.asked[entry.First] = append(r.asked[entry.First], entry)
		}
	}
	r.client.sent.Store(max(r.client.sent.Load(), last))
	return first, r.order()
}

// order sorts what was asked for and refuses entries that overlap in part.
func (r *Run) order() error {
	r.starts = r.starts[:0]
	for start := range r.asked {
		r.starts = append(r.starts, start)
	}
	slices.Sort(r.starts)
	end := 0
	for _, start := range r.starts {
		entries := r.asked[start]
		same := !slices.ContainsFunc(entries, func(e Entry) bool { return e.end() != entries[0].end() })
		if start < end || !same {
			return fmt.Errorf("capsign: run: journal: %w", BadRequest)
		}
		end = entries[0].end()
	}
	return nil
}

// plan has a pack begin and end where an earlier one did.
func (r *Run) plan(p *pack) {
	at, found := slices.BinarySearch(r.starts, p.first)
	switch {
	case found:
		p.asked = r.asked[p.first]
		p.limit, p.sized = len(p.asked[0].Digests), false
	case at < len(r.starts):
		p.limit = min(p.limit, r.starts[at]-p.first)
	}
}

// sign gives the items of a pack their outcomes: from what was asked for before
// or else from one more request. The first done of them need none. It returns
// why the request as a whole has no outcome.
func (r *Run) sign(ctx context.Context, p *pack, done int) error {
	for _, entry := range p.asked {
		p.compare(entry)
	}
	open := slices.DeleteFunc(p.open(), func(i int) bool { return i < done })
	for _, entry := range p.asked {
		if len(open) == 0 {
			return nil
		}
		res, err := r.again(ctx, p, entry)
		if err != nil {
			return err
		}
		if res.KID == "" {
			continue // nothing was signed, nor will be
		}
		if open, err = r.settle(ctx, p, entry.positions(), res, open); err != nil {
			return err
		}
	}
	if len(open) == 0 {
		return nil
	}
	res, err := r.ask(ctx, p, open)
	if err != nil || res.KID == "" {
		return err
	}
	_, err = r.settle(ctx, p, open, res, open)
	return err
}

// compare makes ArtifactChanged the outcome of each item that is not what an
// entry says it was.
func (p *pack) compare(entry Entry) {
	for i, digest := range entry.Digests[:min(len(entry.Digests), len(p.items))] {
		if len(digest) > 0 && p.items[i].Err == nil && !bytes.Equal(digest, digestOf(p.items[i])) {
			p.errs[i] = fmt.Errorf("capsign: item %d: %w", p.first+i, ArtifactChanged)
		}
	}
}

// has reports whether the items of an entry are there, and what they were.
func (p *pack) has(entry Entry, positions []int) bool {
	for _, i := range positions {
		if i >= len(p.items) || p.items[i].Err != nil || !bytes.Equal(entry.Digests[i], digestOf(p.items[i])) {
			return false
		}
	}
	return true
}

// digestOf returns the SHA-256 of an item's message.
func digestOf(item Item) []byte {
	sum := sha256.Sum256(item.Message)
	return sum[:]
}

// settle fills in the outcomes of a result whose items are at positions, as far
// as they are open, and returns which items are open then.
func (r *Run) settle(ctx context.Context, p *pack, positions []int, res Result, open []int) ([]int, error) {
	for nth, i := range positions {
		if !slices.Contains(open, i) {
			continue
		}
		signed, err := r.client.settle(ctx, res, nth, p.items[i])
		if err != nil && res.Outcomes[nth].Code == "" {
			return nil, err // of a signature that does not count
		}
		p.signed[i], p.errs[i] = signed, err
	}
	return slices.DeleteFunc(slices.Clone(open), func(i int) bool { return slices.Contains(positions, i) }), nil
}

// ask sends one request for the open items of a pack, once the journal has it.
// Where the request is refused for what is in it, the zero Result is returned
// and the refusal is the items' outcome.
func (r *Run) ask(ctx context.Context, p *pack, open []int) (Result, error) {
	c := r.client
	ctx, cancel := context.WithTimeout(ctx, c.timeout(Bulk))
	defer cancel()
	return c.traced(ctx, Bulk, len(open), func(ctx context.Context) (Result, error) {
		cl, err := r.enter(ctx, p, open)
		if CodeOf(err) == TooLarge {
			p.errs[open[0]] = err // it is alone
			return Result{}, nil
		}
		if err != nil {
			return Result{}, err
		}
		began := time.Now()
		res, err := c.await(ctx, Bulk, cl)
		switch {
		case err != nil:
			return Result{}, err
		case res.Code == RetriesExhausted || res.Code == Internal:
			for _, i := range open {
				p.signed[i].RequestID, p.errs[i] = cl.id, cl.fail(res.Code)
			}
			return Result{}, nil
		case res.Code != "":
			return Result{}, cl.fail(res.Code)
		}
		c.learn(p, time.Since(began))
		return res, nil
	})
}

// enter makes a request for the open items of a pack and enters it into the
// journal.
func (r *Run) enter(ctx context.Context, p *pack, open []int) (*call, error) {
	deadline, _ := ctx.Deadline()
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.client.sent.Add(1)
	req := r.client.request(n, deadline, r.client.cfg.KID, p.messages(open))
	cl, err := r.client.newCall(ctx, Bulk, req)
	if err != nil {
		return nil, err
	}
	entry := Entry{
		N: n, Expires: req.Expires, KID: req.KID, First: p.first, BodySHA256: cl.sum,
		Digests: make([][]byte, len(p.items)),
	}
	for _, i := range open {
		entry.Digests[i] = digestOf(p.items[i])
	}
	if r.journal == nil {
		return cl, nil
	}
	if err := r.journal.Append(entry); err != nil {
		return nil, fmt.Errorf("capsign: run: journal: %w", err)
	}
	return cl, nil
}

// again returns the result of an earlier request, which it sends again where
// there is none yet, or only waits for where its items are not what they were.
// The zero Result, or one without a KID, says that nothing was signed, nor will
// be.
func (r *Run) again(ctx context.Context, p *pack, entry Entry) (Result, error) {
	cl, err := r.callAgain(ctx, p, entry)
	if err != nil {
		return Result{}, err
	}
	// Most have one, which spares the queue a message.
	if body, err := r.client.lookUp(ctx, cl); err != nil || body != nil {
		return cl.acceptAny(body, err)
	}
	if time.Now().Before(entry.Expires) {
		waitCtx, cancel := context.WithDeadline(ctx, entry.Expires)
		res, err := r.client.traced(waitCtx, Bulk, cl.items, func(ctx context.Context) (Result, error) {
			return r.client.await(ctx, Bulk, cl)
		})
		cancel()
		if err == nil || ctx.Err() != nil || time.Now().Before(entry.Expires) {
			return res, err
		}
	}
	select {
	case <-time.After(time.Until(entry.Expires.Add(clockMargin))):
	case <-ctx.Done():
		return Result{}, fmt.Errorf("%w (%w)", cl.fail(OutcomeUnknown), context.Cause(ctx))
	}
	return cl.acceptAny(r.client.lookUp(ctx, cl))
}

// acceptAny reads what lookUp has returned.
func (cl *call) acceptAny(body []byte, err error) (Result, error) {
	if err != nil || body == nil {
		return Result{}, err
	}
	return cl.accept(body)
}

// callAgain returns the call of an earlier request. It wraps [BadRequest] where
// the same items do not give the same request.
func (r *Run) callAgain(ctx context.Context, p *pack, entry Entry) (*call, error) {
	c, positions := r.client, entry.positions()
	if !p.has(entry, positions) {
		return c.callOf(entry.N, len(positions), entry.BodySHA256), nil
	}
	cl, err := c.newCall(ctx, Bulk, c.request(entry.N, entry.Expires, entry.KID, p.messages(positions)))
	if err != nil {
		return nil, err
	}
	if cl.sum != entry.BodySHA256 {
		return nil, fmt.Errorf("capsign: run: request %d has become another: %w", entry.N, BadRequest)
	}
	cl.published = true
	return cl, nil
}

// lookUp returns the body of a call's result, or nil where the store says that
// it has none.
func (c *Client) lookUp(ctx context.Context, cl *call) ([]byte, error) {
	body, err := readDirect(ctx, c.nc, ResultsStream, StoreSubject(c.cfg.Tenant, cl.id))
	if err != nil {
		return nil, cl.fail(CodeOf(err))
	}
	return body, nil
}
