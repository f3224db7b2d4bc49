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
	nc    *nats.Conn
	next  string // the subject that asks the consumer for messages
	inbox string
	room  int
	take  func(*nats.Msg) // must not block

	mu    sync.Mutex
	held  int       // taken and not yet released
	asked int       // asked for and not yet arrived
	heard time.Time // when the broker last spoke
	ended bool      // no more asking
}

// pullRequest is the body of a request for messages (JetStream ADR-37).
type pullRequest struct {
	Batch     int   `json:"batch"`
	Expires   int64 `json:"expires"`        // nanoseconds
	Heartbeat int64 `json:"idle_heartbeat"` // nanoseconds
}

// start subscribes and asks for the first messages. The subscription is the
// caller's to end.
func (p *puller) start() (*nats.Subscription, error) {
	sub, err := p.nc.Subscribe(p.inbox, p.receive)
	if err != nil {
		return nil, err
	}
	p.reset()
	return sub, nil
}

// receive takes a message, or what the broker says instead of one.
func (p *puller) receive(msg *nats.Msg) {
	status := msg.Header.Get("Status")
	if status == "" && !strings.HasPrefix(msg.Reply, "$JS.ACK.") {
		return // not from a consumer; nobody else may have work done
	}
	p.mu.Lock()
	p.heard = time.Now()
	switch status {
	case "":
		p.asked = max(p.asked-1, 0)
		p.held++
	case "100": // a heartbeat
	case "503": // no consumer, or no broker behind the connection yet
		p.heard = time.Time{}
	default: // a pull has ended before it was filled
		left, err := strconv.Atoi(msg.Header.Get("Nats-Pending-Messages"))
		if err != nil {
			left = p.asked
		}
		p.asked = max(p.asked-left, 0)
		p.ask()
	}
	p.mu.Unlock()
	if status == "" {
		p.take(msg)
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
	if p.ended || n < max(p.room/4, 1) {
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

// end stops asking. What was asked for may still arrive.
func (p *puller) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
}
