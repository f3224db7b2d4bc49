package capsign

import (
	"context"
	"encoding/base64"
	"fmt"
	"iter"
	"sync"
	"time"
)

// linger is how long a request waits for more items before it is sent.
const linger = time.Millisecond

// Item is one message for [Client.SignAll].
type Item struct {
	// Ref is the publisher's own name for the message, handed back with its
	// signature and sent nowhere. It may be empty.
	Ref string
	// Message is what is signed. It must not change until its outcome is
	// yielded.
	Message []byte
}

// Signed is a signature with the request it was made for.
type Signed struct {
	Signature
	// RequestID names the request. Items that were packed together share it.
	RequestID string
	// Ref is the Item's.
	Ref string
}

// SignAll signs every message of items on the bulk lane and yields one outcome
// for each, in the order of items: a signature, or an error that wraps one
// [Code], with the Signed's Ref set in either case. An error ends its own item
// only.
//
// Items are packed into requests of up to cfg.Pack and at most cfg.Window
// requests are in flight, so that neither the messages nor the signatures are
// ever all in memory. items is drawn from in another goroutine, which has ended
// when the iteration ends; leaving the loop early, or cancelling ctx, abandons
// what is in flight as soon as items yields once more.
func (c *Client) SignAll(ctx context.Context, items iter.Seq[Item]) iter.Seq2[Signed, error] {
	return func(yield func(Signed, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()

		fed := make(chan Item, c.cfg.Pack)
		packs := make(chan *pack, c.cfg.Window-1)
		running.Go(func() { feed(ctx, items, fed) })
		running.Go(func() { c.pack(ctx, &running, fed, packs) })
		for p := range packs {
			<-p.done
			for i := range p.items {
				if !yield(p.signed[i], p.errs[i]) {
					return
				}
			}
		}
	}
}

// pack is the items of one request and, once done is closed, the outcome of
// each.
type pack struct {
	items  []Item
	size   int // of the messages as JSON
	done   chan struct{}
	signed []Signed
	errs   []error
}

// add puts an item into the pack and reports whether the pack is then full.
func (p *pack) add(item Item, limit int) bool {
	p.items = append(p.items, item)
	p.size += encodedSize(len(item.Message))
	return len(p.items) == limit
}

// encodedSize is how long a message of n bytes is in a request's body.
func encodedSize(n int) int {
	return base64.StdEncoding.EncodedLen(n) + len(`"",`)
}

// messages returns the packed messages.
func (p *pack) messages() [][]byte {
	msgs := make([][]byte, len(p.items))
	for i, item := range p.items {
		msgs[i] = item.Message
	}
	return msgs
}

// feed draws from items until they end or ctx does, then closes fed.
func feed(ctx context.Context, items iter.Seq[Item], fed chan<- Item) {
	defer close(fed)
	for item := range items {
		select {
		case fed <- item:
		case <-ctx.Done():
			return
		}
	}
}

// pack fills requests with what is fed and sends each as soon as it is full or
// has lingered. packs bounds how many are under way; it is closed at the end.
func (c *Client) pack(ctx context.Context, running *sync.WaitGroup, fed <-chan Item, packs chan<- *pack) {
	defer close(packs)
	// What the items of one request may take: one that is too large is alone.
	room := encodedSize(MaxMessageSize)
	for {
		first, open := <-fed
		if !open {
			return
		}
		p := &pack{done: make(chan struct{})}
		for item := first; ; {
			full := p.add(item, c.cfg.Pack)
			var more bool
			if item, more = c.next(fed, full); !more {
				break
			}
			if p.size+encodedSize(len(item.Message)) > room {
				if !c.dispatch(ctx, running, p, packs) {
					return
				}
				p = &pack{done: make(chan struct{})}
			}
		}
		if !c.dispatch(ctx, running, p, packs) {
			return
		}
	}
}

// next returns the next item for a pack, or false where the pack should go: it
// is full, has lingered, or there are no more items.
func (c *Client) next(fed <-chan Item, full bool) (Item, bool) {
	if full {
		return Item{}, false
	}
	select {
	case item, open := <-fed:
		return item, open
	default:
	}
	select {
	case item, open := <-fed:
		return item, open
	case <-time.After(linger):
		return Item{}, false
	}
}

// dispatch queues a pack for the reader and starts its exchange; it reports
// false when ctx ended first.
func (c *Client) dispatch(ctx context.Context, running *sync.WaitGroup, p *pack, packs chan<- *pack) bool {
	select {
	case packs <- p:
	case <-ctx.Done():
		return false
	}
	running.Go(func() {
		defer close(p.done)
		c.sign(ctx, p)
	})
	return true
}

// sign sends a pack and fills in the outcome of each of its items.
func (c *Client) sign(ctx context.Context, p *pack) {
	p.signed, p.errs = make([]Signed, len(p.items)), make([]error, len(p.items))
	res, err := c.exchange(ctx, Bulk, c.cfg.KID, p.messages())
	for i, item := range p.items {
		if err != nil {
			p.signed[i].Ref, p.errs[i] = item.Ref, err
			continue
		}
		p.signed[i], p.errs[i] = c.settle(ctx, res, i, item)
	}
}

// settle turns a result's i-th outcome into a signature that belongs to item's
// message and to the key that was asked for.
func (c *Client) settle(ctx context.Context, res Result, i int, item Item) (Signed, error) {
	signed := Signed{Ref: item.Ref, RequestID: res.ID}
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
	ring, err := FetchKeySet(ctx, c.nc)
	if err != nil {
		return Key{}, err
	}
	key, err := ring.Key(kid)
	if err != nil {
		return Key{}, err
	}
	c.keys.Store(kid, key)
	return key, nil
}
