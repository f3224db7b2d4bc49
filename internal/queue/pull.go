package queue

import (
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// A pull waits at the broker for pullExpiry; the broker speaks up every
// pullHeartbeat meanwhile, and silence for longer casts doubt on it.
const (
	pullExpiry    = 30 * time.Second
	pullHeartbeat = time.Second
)

// puller asks a durable consumer for messages: as many as it has room for and
// never more, so that everything the broker thinks we hold is in take's hands.
// It asks again when a quarter of the room is free. (The client library's own
// Consume buffers beyond its callback, and with a small buffer it can forget to
// ask again: docs/adr/0004.)
type puller struct {
	nc   *nats.Conn
	next string // the subject that asks the consumer for messages
	room int
	take func(*nats.Msg) // must not block

	mu    sync.Mutex
	inbox string    // where messages arrive; empty while nothing is asked for
	held  int       // taken and not yet released
	asked int       // asked for and not yet arrived
	heard time.Time // when the broker last spoke
}

// pullRequest is the body of a request for messages (JetStream ADR-37).
type pullRequest struct {
	Batch     int   `json:"batch"`
	Expires   int64 `json:"expires"`        // nanoseconds
	Heartbeat int64 `json:"idle_heartbeat"` // nanoseconds
}

// start subscribes and begins to ask for messages. The subscription is the
// caller's to end, after stop.
func (p *puller) start() (*nats.Subscription, error) {
	inbox := p.nc.NewInbox()
	sub, err := p.nc.Subscribe(inbox, func(msg *nats.Msg) { p.receive(inbox, msg) })
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.inbox = inbox
	p.mu.Unlock()
	p.reset()
	return sub, nil
}

// stop stops asking. What was asked for may still arrive.
func (p *puller) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inbox, p.asked = "", 0
}

// receive takes a message that came to inbox, or what the broker says instead of
// one.
func (p *puller) receive(inbox string, msg *nats.Msg) {
	status := msg.Header.Get("Status")
	if status == "" && !strings.HasPrefix(msg.Reply, "$JS.ACK.") {
		return // not from a consumer; nobody else may have work done
	}
	p.mu.Lock()
	if status == "" {
		p.held++
	}
	if inbox == p.inbox { // else it belongs to what was asked for before
		p.account(status, msg.Header)
	}
	p.mu.Unlock()
	if status == "" {
		p.take(msg)
	}
}

// account enters what came in answer to what was asked for. The caller holds
// mu.
func (p *puller) account(status string, header nats.Header) {
	p.heard = time.Now()
	switch status {
	case "":
		p.asked = max(p.asked-1, 0)
	case "100": // a heartbeat
	case "503": // no consumer, or no broker behind the connection yet
		p.heard = time.Time{}
	default: // a pull has ended before it was filled
		left, err := strconv.Atoi(header.Get("Nats-Pending-Messages"))
		if err != nil {
			left = p.asked
		}
		p.asked = max(p.asked-left, 0)
		p.ask()
	}
}

// release makes room for another message.
func (p *puller) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held--
	p.ask()
}

// ask asks for as many messages as there is room for, unless that is too few
// to be worth it. The caller holds mu.
func (p *puller) ask() {
	n := p.room - p.held - p.asked
	if p.inbox == "" || n < max(p.room/4, 1) {
		return
	}
	body, err := json.Marshal(pullRequest{n, int64(pullExpiry), int64(pullHeartbeat)})
	if err != nil || p.nc.PublishRequest(p.next, p.inbox, body) != nil {
		return // a closed connection; silence will tell
	}
	p.asked += n
}

// reset forgets what was asked for, which the broker has forgotten too, and
// asks anew.
func (p *puller) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked, p.heard = 0, time.Now()
	p.ask()
}

// silent reports whether the broker owes a word and has not said it.
func (p *puller) silent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked > 0 && time.Since(p.heard) > 2*pullHeartbeat+pullHeartbeat/2
}
