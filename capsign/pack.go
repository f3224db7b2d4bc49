package capsign

import (
	"context"
	"encoding/base64"
	"iter"
	"sync"
	"time"
)

const (
	// linger is how long a request waits for one more item before it is sent, and
	// runLinger how long in a run, whose items are read from files as a rule: a
	// second more or less is nothing there, and a request of few items costs as
	// much as one of many.
	linger, runLinger = time.Millisecond, 50 * time.Millisecond
	// fedAhead is how many items are drawn before there is a request for them.
	fedAhead = 64
)

// pack is the items of one request and, once done is closed, the outcome of
// each.
type pack struct {
	first int // the index of items[0] among all items
	items []Item
	limit int // the most items it may get
	sized bool
	asked []Entry // the requests that a run has sent for these very items already

	size, listed int // of the messages and of the references, as JSON

	done   chan struct{}
	signed []Signed
	errs   []error
	failed error // no item has an outcome, since the request as a whole had none
}

// add puts an item into the pack.
func (p *pack) add(item Item) {
	p.items = append(p.items, item)
	p.size += encodedSize(len(item.Message))
	p.listed += listedSize(item)
}

// full reports whether the pack takes no further item.
func (p *pack) full() bool { return len(p.items) == p.limit }

// fits reports whether there is room for an item. One that is too large is
// alone, and items that were sent together before are sent together again.
func (p *pack) fits(item Item) bool {
	room := encodedSize(MaxMessageSize)
	return len(p.asked) > 0 ||
		p.size+encodedSize(len(item.Message)) <= room && p.listed+listedSize(item) <= room
}

// encodedSize is how long a message of n bytes is in a request's body.
func encodedSize(n int) int {
	return base64.StdEncoding.EncodedLen(n) + len(`"",`)
}

// listedSize is the most that an item takes in the list of a run that was left
// to the workers: any of its reference's bytes may have to be escaped.
func listedSize(item Item) int { return 6*len(item.Ref) + 160 }

// begin enters the references of the items into their outcomes, of which those
// with an error of their own have theirs already.
func (p *pack) begin() {
	p.signed, p.errs = make([]Signed, len(p.items)), make([]error, len(p.items))
	for i, item := range p.items {
		p.signed[i].Ref, p.signed[i].Digest, p.errs[i] = item.Ref, item.Digest, item.Err
	}
}

// open returns the positions of the items that are to be signed.
func (p *pack) open() []int {
	var open []int
	for i := range p.items {
		if p.errs[i] == nil {
			open = append(open, i)
		}
	}
	return open
}

// messages returns the messages at the given positions.
func (p *pack) messages(positions []int) [][]byte {
	msgs := make([][]byte, len(positions))
	for i, at := range positions {
		msgs[i] = p.items[at].Message
	}
	return msgs
}

// pipeline packs items into requests, has a bounded number of them under way,
// and gives back the packs in the order of their items.
type pipeline struct {
	size   *packSize
	linger time.Duration
	// plan, unless nil, prepares the pack that begins with an index.
	plan func(*pack)
	// send gives each item of a pack its outcome, or the pack its failure.
	send func(context.Context, *pack)

	running sync.WaitGroup
	fed     chan Item
	packs   chan *pack
}

// run draws from items, of which the first has the given index, and yields
// packs whose items have their outcome. What it started has ended when the
// iteration ends.
func (l *pipeline) run(ctx context.Context, first, window int, items iter.Seq[Item]) iter.Seq[*pack] {
	return func(yield func(*pack) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer l.running.Wait()
		defer cancel()
		l.fed = make(chan Item, fedAhead)
		l.packs = make(chan *pack, window-1)
		l.running.Go(func() { feed(ctx, items, l.fed) })
		l.running.Go(func() { l.pack(ctx, first) })
		for p := range l.packs {
			<-p.done
			if !yield(p) {
				return
			}
		}
	}
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
// has lingered. It closes packs, which bounds how many are under way, at the
// end.
func (l *pipeline) pack(ctx context.Context, index int) {
	defer close(l.packs)
	held, open := <-l.fed
	for open {
		p := l.begin(index)
		p.add(held)
		got := false
		for !p.full() {
			if held, got = l.next(p); !got || !p.fits(held) {
				break
			}
			p.add(held)
			got = false
		}
		index += len(p.items)
		if !l.dispatch(ctx, p) {
			return
		}
		if !got {
			held, open = <-l.fed
		}
	}
}

// begin returns an empty pack for the items from index on.
func (l *pipeline) begin(index int) *pack {
	p := &pack{first: index, limit: l.size.get(), sized: true, done: make(chan struct{})}
	if l.plan != nil {
		l.plan(p)
	}
	return p
}

// next returns the next item for a pack, or false where the pack should go: it
// has lingered, or there are no more items. A pack that repeats an earlier one
// waits for all that belongs into it.
func (l *pipeline) next(p *pack) (Item, bool) {
	select {
	case item, open := <-l.fed:
		return item, open
	default:
	}
	if len(p.asked) > 0 {
		item, open := <-l.fed
		return item, open
	}
	select {
	case item, open := <-l.fed:
		return item, open
	case <-time.After(l.linger):
		return Item{}, false
	}
}

// dispatch queues a pack for the reader and has it sent; it reports false when
// ctx ended first.
func (l *pipeline) dispatch(ctx context.Context, p *pack) bool {
	select {
	case l.packs <- p:
	case <-ctx.Done():
		return false
	}
	l.running.Go(func() {
		defer close(p.done)
		p.begin()
		l.send(ctx, p)
	})
	return true
}
