package queue_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/capsign/cap/capsign"
)

// crowded is a provider that serves so many calls at once, and notes how many it
// had. Those for messages that begin with "bulk" wait until they are let go.
type crowded struct {
	now, most, bulk atomic.Int64
	release         chan struct{}
}

// call is what a signer does before it signs.
func (c *crowded) call(ctx context.Context, _ int64, msg []byte) error {
	now := c.now.Add(1)
	defer c.now.Add(-1)
	for most := c.most.Load(); now > most; most = c.most.Load() {
		c.most.CompareAndSwap(most, now)
	}
	if string(msg[:4]) != "bulk" {
		return nil
	}
	c.bulk.Add(1)
	select {
	case <-c.release:
	case <-ctx.Done():
	}
	return nil
}

// A device that is full of a pipeline's signatures still makes a one-off at once,
// and is never asked for more at a time than it can do.
func TestExpressHasAShareOfADevice(t *testing.T) {
	p := newServer(t)
	c := &crowded{release: make(chan struct{})}
	p.signer.before = c.call
	p.config.Parallelism, p.config.SharedSlots = 16, true
	p.startWorker(t)
	var ids []string
	for range 20 {
		req := p.newRequest()
		req.Items = [][]byte{[]byte("bulk"), []byte("bulk")}
		p.publish(t, p.subject(capsign.Bulk), encode(t, req))
		ids = append(ids, req.ID)
	}
	eventually(t, "the bulk lane has all it gets", func() bool { return c.bulk.Load() == 14 })
	if err := p.signs(t); err != nil {
		t.Error(err)
	}
	if n := c.bulk.Load(); n != 14 {
		t.Errorf("%d bulk calls at once, want 14", n)
	}
	for range 5 { // of which two have room
		req := p.newRequest()
		req.Items = [][]byte{[]byte("bulk, by its name alone")}
		p.publish(t, p.subject(capsign.Express), encode(t, req))
		ids = append(ids, req.ID)
	}
	eventually(t, "the device is full", func() bool { return c.now.Load() >= 16 })
	close(c.release)
	for _, id := range ids {
		p.result(t, id)
	}
	if most := c.most.Load(); most > 16 {
		t.Errorf("%d calls at once, of 16", most)
	}
}

// Without a pipeline, one-offs have the whole device.
func TestExpressMayTakeAllOfADevice(t *testing.T) {
	p := newServer(t)
	c := &crowded{release: make(chan struct{})}
	p.signer.before = c.call
	p.config.Parallelism, p.config.SharedSlots = 16, true
	p.startWorker(t)
	for range 20 {
		req := p.newRequest()
		req.Items = [][]byte{[]byte("bulk, by its name alone")}
		p.publish(t, p.subject(capsign.Express), encode(t, req))
	}
	eventually(t, "all slots are taken", func() bool { return c.now.Load() == 16 })
	close(c.release)
	eventually(t, "all are signed", func() bool { return p.waiting(t) == 0 })
	if most := c.most.Load(); most != 16 {
		t.Errorf("%d calls at once, of 16", most)
	}
}
