package capsign

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// Item is one message for [Client.SignAll].
type Item struct {
	// Ref is the publisher's own name for the message, handed back with its
	// signature and sent nowhere. It may be empty.
	Ref string
	// Digest is the SHA-256 of what the message stands for, in hex, where the
	// publisher wants it back with the signature. Like Ref, it may be empty, and
	// only [Run.Leave] sends it anywhere.
	Digest string
	// Message is what is signed. It must not change until its outcome is
	// yielded.
	Message []byte
	// Err, where it is set, is the item's outcome, and nothing is sent: there is
	// no message. It should wrap one [Code].
	Err error
}

// Signed is a signature with the request it was made for.
type Signed struct {
	Signature
	// RequestID names the request. Items that were packed together share it.
	RequestID string
	// Ref and Digest are the Item's.
	Ref, Digest string
}

// SignAll signs every message of items on the bulk lane and yields one outcome
// for each, in the order of items: a signature, or an error that wraps one
// [Code], with the Signed's Ref set in either case. An error ends its own item
// only.
//
// Items are packed into requests and at most cfg.Window requests are in flight,
// so that neither the messages nor the signatures are ever all in memory. Where
// cfg.Pack does not say otherwise, the requests grow and shrink with the speed
// of the pool. items is drawn from in another goroutine, which has ended when
// the iteration ends; leaving the loop early, or cancelling ctx, abandons what
// is in flight as soon as items yields once more. A [Run] does the same and can
// be taken up again.
func (c *Client) SignAll(ctx context.Context, items iter.Seq[Item]) iter.Seq2[Signed, error] {
	return func(yield func(Signed, error) bool) {
		line := &pipeline{size: c.size, linger: linger, send: c.sign}
		for p := range line.run(ctx, 0, c.cfg.Window, items) {
			for i := range p.items {
				if !yield(p.signed[i], p.errs[i]) {
					return
				}
			}
		}
	}
}

// sign sends a pack and fills in the outcome of each of its items.
func (c *Client) sign(ctx context.Context, p *pack) {
	open := p.open()
	if len(open) == 0 {
		return
	}
	began := time.Now()
	res, err := c.exchange(ctx, Bulk, c.cfg.KID, p.messages(open))
	if err == nil {
		c.learn(p, time.Since(began))
	}
	for nth, i := range open {
		if err != nil {
			p.errs[i] = err
			continue
		}
		p.signed[i], p.errs[i] = c.settle(ctx, res, nth, p.items[i])
	}
}

// learn has the size of the next packs follow from how long a full one took.
func (c *Client) learn(p *pack, took time.Duration) {
	if p.sized && p.full() {
		c.size.learn(p.limit, took)
	}
}

// settle turns a result's i-th outcome into a signature that belongs to item's
// message and to the key that was asked for.
func (c *Client) settle(ctx context.Context, res Result, i int, item Item) (Signed, error) {
	signed := Signed{Ref: item.Ref, Digest: item.Digest, RequestID: res.ID}
	outcome := res.Outcomes[i]
	if outcome.Code != "" {
		return signed, fmt.Errorf("capsign: request %s: item %d: %w", res.ID, i, outcome.Code)
	}
	if err := c.check(ctx, res, item.Message, outcome.Signature); err != nil {
		return signed, fmt.Errorf("capsign: request %s: item %d: %w", res.ID, i, err)
	}
	signed.Signature = Signature{KID: res.KID, Alg: res.Alg, Bytes: outcome.Signature}
	return signed, nil
}

// check holds a signature against the public key that its kid vouches for,
// which must be a version of the key that was asked for.
func (c *Client) check(ctx context.Context, res Result, msg, sig []byte) error {
	if c.cfg.KID != "" && res.KID != c.cfg.KID {
		return Integrity
	}
	if c.cfg.SkipVerify {
		return nil
	}
	key, err := c.key(ctx, res.KID)
	if err != nil {
		return err
	}
	if key.Name != c.cfg.Key || key.Alg != res.Alg || key.Verify(msg, sig) != nil {
		return Integrity
	}
	return nil
}

// key returns the key version of a kid, from memory once it was fetched.
func (c *Client) key(ctx context.Context, kid string) (Key, error) {
	if known, ok := c.keys.Load(kid); ok {
		return known.(Key), nil
	}
	for try := 1; ; try++ {
		ring, err := FetchKeySet(ctx, c.nc)
		if err != nil {
			return Key{}, err
		}
		key, err := ring.Key(kid)
		switch {
		case err == nil:
			c.keys.Store(kid, key)
			return key, nil
		case try == keyTries:
			return Key{}, err
		}
		select {
		case <-time.After(keyPause):
		case <-ctx.Done():
			return Key{}, err
		}
	}
}

// A key that has just signed is published. It may be missing from a list all the
// same, where the server that makes the list has yet to hear of it: with a
// rotation, that is the very key. It is looked for again.
const (
	keyTries = 3
	keyPause = 50 * time.Millisecond
)
