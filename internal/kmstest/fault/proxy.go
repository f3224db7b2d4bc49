package fault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy is a TCP proxy on loopback whose connections can go silent without
// being closed, as behind a firewall that forgot them: the kernel still
// acknowledges what a client sends, and nothing ever comes back.
type Proxy struct {
	listener net.Listener
	target   string
	done     chan struct{} // closed by Close
	running  sync.WaitGroup

	mu       sync.Mutex
	links    map[*link]struct{}
	stallNew bool
	closed   bool
	accepted int
}

// BlackHole returns a proxy to target, a host:port, that the test closes.
func BlackHole(t testing.TB, target string) *Proxy {
	t.Helper()
	proxy, err := NewProxy(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	return proxy
}

// NewProxy starts a proxy to target, a host:port, on a free port of loopback.
func NewProxy(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &Proxy{listener: listener, target: target, done: make(chan struct{}), links: make(map[*link]struct{})}
	p.running.Go(p.accept)
	return p, nil
}

// Addr returns the proxy's host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Accepted returns how many connections were made to the proxy.
func (p *Proxy) Accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.accepted
}

// Stall silences the connections that are open now. New ones work.
func (p *Proxy) Stall() { p.set(true, false) }

// StallAll silences the connections that are open now and all new ones.
func (p *Proxy) StallAll() { p.set(true, true) }

// Resume lets all connections go on where they stopped.
func (p *Proxy) Resume() { p.set(false, false) }

// Drop closes the connections that are open now.
func (p *Proxy) Drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.close()
	}
}

// Close ends the proxy and its connections, and waits for them.
func (p *Proxy) Close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	close(p.done)
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Drop()
	p.running.Wait()
}

// set stalls or resumes the open connections and says what becomes of new ones.
func (p *Proxy) set(stall, stallNew bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stallNew = stallNew
	for l := range p.links {
		l.stall(stall)
	}
}

// accept serves connections until the proxy is closed.
func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		p.running.Go(func() { p.serve(client) })
	}
}

// serve carries one connection until either side, or the proxy, closes it.
func (p *Proxy) serve(client net.Conn) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	server, err := dialer.DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	l := p.add(client, server)
	defer p.remove(l)
	var pumps sync.WaitGroup
	pumps.Go(func() { l.pump(client, server) })
	pumps.Go(func() { l.pump(server, client) })
	pumps.Wait()
}

// add takes note of a new connection.
func (p *Proxy) add(client, server net.Conn) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accepted++
	l := &link{client: client, server: server, done: p.done, open: make(chan struct{})}
	close(l.open)
	l.stall(p.stallNew)
	p.links[l] = struct{}{}
	if p.closed {
		l.close()
	}
	return l
}

// remove closes a connection and forgets it.
func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.close()
	delete(p.links, l)
}

// link is one connection through the proxy.
type link struct {
	client, server net.Conn
	done           <-chan struct{} // the proxy's end

	mu   sync.Mutex
	open chan struct{} // closed while bytes may pass
}

// stall stops the bytes or lets them pass.
func (l *link) stall(stall bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
		if stall {
			l.open = make(chan struct{})
		}
	default:
		if !stall {
			close(l.open)
		}
	}
}

// pump carries bytes one way until a side closes, and then closes both.
func (l *link) pump(from, to net.Conn) {
	defer l.close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !l.wait() {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait returns true once bytes may pass, and false when the proxy ends.
func (l *link) wait() bool {
	l.mu.Lock()
	open := l.open
	l.mu.Unlock()
	select {
	case <-open:
		return true
	case <-l.done:
		return false
	}
}

// close closes both sides.
func (l *link) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}
