package loadtest

import (
	"cmp"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/capsign/cap/capsign"
)

// generator puts its load on one lane.
type generator struct {
	cfg    Config
	load   Load
	seed   uint64
	began  time.Time
	ends   time.Time // when the last request is due, at the latest
	slots  chan struct{}
	record *record
	filler []byte
	sent   uint64

	heldUntil time.Time // when a slot came free that was waited for
	stopped   time.Time // when an interrupt was seen; zero without one
}

// newGenerator returns the generator of a load.
func newGenerator(cfg Config, load Load, began time.Time, seed uint64) *generator {
	load.Pack = cmp.Or(load.Pack, 1)
	filler := make([]byte, cfg.Size)
	random := rand.New(rand.NewPCG(2, seed))
	for i := range filler {
		filler[i] = byte(random.Uint32())
	}
	return &generator{
		cfg: cfg, load: load, seed: seed, began: began, ends: began.Add(cfg.duration()),
		slots: make(chan struct{}, cfg.InFlight), record: newRecord(cfg, began), filler: filler,
	}
}

// run sends each request when it is due, until they are all sent or ctx ends, and
// returns once each has ended. The requests themselves end with calls.
func (g *generator) run(ctx, calls context.Context) {
	sending, stop := context.WithDeadline(ctx, g.ends)
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	for a := range schedule(g.cfg, g.load, g.seed) {
		due := g.began.Add(a.at)
		g.cfg.Wait(ctx, due)
		if ctx.Err() != nil && g.interrupted().Before(due) {
			return
		}
		g.record.note(a, due, func(t *tally) { t.due++ })
		if !g.take(sending, a, due) {
			g.record.note(a, due, func(t *tally) { t.shed++ })
			continue
		}
		messages := g.messages()
		running.Go(func() {
			defer func() { <-g.slots }()
			g.call(calls, a, due, messages)
		})
	}
}

// interrupted returns when the generator first saw that it was interrupted.
func (g *generator) interrupted() time.Time {
	if g.stopped.IsZero() {
		g.stopped = time.Now()
	}
	return g.stopped
}

// take waits for room for one more request in flight, and notes whether that or
// the generator itself has made it late. It reports false where there was none
// before the run's end.
func (g *generator) take(sending context.Context, a arrival, due time.Time) bool {
	select {
	case g.slots <- struct{}{}:
		if due.Before(g.heldUntil) {
			g.record.note(a, due, func(t *tally) { t.held++ })
		} else {
			g.record.noteLate(a, time.Since(due))
		}
		return true
	default:
	}
	select {
	case g.slots <- struct{}{}:
		g.heldUntil = time.Now()
		g.record.note(a, due, func(t *tally) { t.held++ })
		return true
	case <-sending.Done():
		g.heldUntil = time.Now()
		return false
	}
}

// call makes one request and notes what became of it.
func (g *generator) call(ctx context.Context, a arrival, due time.Time, messages [][]byte) {
	signed, refused := g.ask(ctx, messages)
	now := time.Now()
	g.record.noteSigned(now, int64(signed))
	g.record.note(a, due, func(t *tally) {
		switch {
		case signed == len(messages):
			t.answer(now.Sub(due))
		case ctx.Err() != nil:
			t.cut++
		default:
			t.refuse(refused)
		}
	})
}

// ask has messages signed on the lane, and returns how many were and the codes
// that the others were refused with.
func (g *generator) ask(ctx context.Context, messages [][]byte) (signed int, refused []capsign.Code) {
	if g.load.Lane == capsign.Express {
		if _, err := g.cfg.Signer.Sign(ctx, messages[0]); err != nil {
			return 0, []capsign.Code{capsign.CodeOf(err)}
		}
		return 1, nil
	}
	items := func(yield func(capsign.Item) bool) {
		for _, msg := range messages {
			if !yield(capsign.Item{Message: msg}) {
				return
			}
		}
	}
	for _, err := range g.cfg.Signer.SignAll(ctx, items) {
		if err != nil {
			refused = append(refused, capsign.CodeOf(err))
		} else {
			signed++
		}
	}
	return signed, refused
}

// messages returns one request's messages, each unlike all others as far as its
// size allows.
func (g *generator) messages() [][]byte {
	messages := make([][]byte, g.load.Pack)
	var number [8]byte
	for i := range messages {
		g.sent++
		binary.LittleEndian.PutUint64(number[:], g.sent)
		messages[i] = slices.Clone(g.filler)
		copy(messages[i], number[:])
	}
	return messages
}
