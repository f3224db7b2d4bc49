package azurekms

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/capsign/cap/capsign"
)

const (
	// dialTimeout bounds a connection's TCP, and again its TLS handshake.
	dialTimeout = 2 * time.Second
	// pingAfter is how long an HTTP/2 connection may be silent before it is
	// pinged, and how long the ping may take: one that a firewall forgot is
	// noticed within twice that.
	pingAfter = time.Second
	// idlePerHost is how many HTTP/1.1 connections are kept: the SDK's 10 would
	// open a new one for nearly every signature of 64 callers.
	idlePerHost = 256
	// maxTimeouts is how many requests in a row may get no answer in time before
	// all connections are given up.
	maxTimeouts = 2
	// maxAnswer is the longest answer, in bytes. A page of versions is below
	// 16 KiB.
	maxAnswer = 1 << 20
)

// transport sends the SDK's requests. It is a policy.Transporter whose errors
// wrap a code, and which reads each answer to its end, so that a connection
// that breaks in the middle is its error too. It follows no redirects.
type transport struct {
	newPool func() *http.Transport
	pool    atomic.Pointer[pool]
	host    string // the only one that is sent anything; empty is any
	log     *slog.Logger
}

// pool is a set of connections.
type pool struct {
	*http.Transport
	timeouts atomic.Int32 // in a row
}

// newTransport returns a transport to the vault, or, where toVault is false,
// to whoever issues its tokens.
func newTransport(cfg Config, roots *x509.CertPool, log *slog.Logger, toVault bool) *transport {
	t := &transport{log: log, newPool: func() *http.Transport { return newPool(roots) }}
	if toVault {
		t.host = cfg.host()
		t.newPool = func() *http.Transport {
			p := newPool(roots)
			cfg.redirectDials(p)
			return p
		}
	}
	t.pool.Store(&pool{Transport: t.newPool()})
	return t
}

// newPool returns a set of connections without any.
func newPool(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		MaxIdleConnsPerHost: idlePerHost,
		IdleConnTimeout:     90 * time.Second,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
	}
}

// redirectDials makes the pool dial Endpoint, where there is one. All else of a
// connection, the certificate's name first of all, stays the vault's.
func (cfg Config) redirectDials(p *http.Transport) {
	if cfg.Endpoint == "" {
		return
	}
	u, _ := httpsURL(cfg.Endpoint) // it is checked already
	port := u.Port()
	if port == "" {
		port = "443"
	}
	dial, address := p.DialContext, net.JoinHostPort(u.Hostname(), port)
	p.Proxy = nil
	p.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) { return dial(ctx, network, address) }
}

// Do sends one request and returns its whole answer. Errors wrap a code.
func (t *transport) Do(req *http.Request) (*http.Response, error) {
	if t.host != "" && !strings.EqualFold(req.URL.Host, t.host) {
		return nil, refuse("request", capsign.Integrity) // a link to elsewhere, and the token with it
	}
	p := t.pool.Load()
	answer, err := exchange(p, req)
	t.note(req.Context(), p, err)
	if err != nil {
		code := transportCode(err)
		noteFault(req.Context(), code)
		return nil, refuse("request", code)
	}
	dropMalformedChallenge(answer)
	return answer, nil
}

// exchange sends a request and reads the answer into memory.
func exchange(p *pool, req *http.Request) (*http.Response, error) {
	answer, err := p.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxAnswer {
		return nil, errors.New("answer too long")
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return answer, nil
}

// note counts requests that got no answer in time. After too many in a row, new
// requests get new connections: the old ones may lead nowhere, and the kernel
// would go on believing in them for a quarter of an hour.
func (t *transport) note(ctx context.Context, p *pool, err error) {
	switch {
	case err == nil:
		p.timeouts.Store(0)
	case errors.Is(err, context.Canceled) || transportCode(err) != capsign.ProviderTimeout:
		// the caller left, or the connection is known to be gone
	case p.timeouts.Add(1) >= maxTimeouts && t.pool.CompareAndSwap(p, &pool{Transport: t.newPool()}):
		t.log.WarnContext(ctx, "connections to the vault replaced", "timeouts_in_a_row", maxTimeouts)
		p.CloseIdleConnections()
		time.AfterFunc(2*dialTimeout, p.CloseIdleConnections) // those that were in use
	}
}

// close closes the connections that are not in use.
func (t *transport) close() { t.pool.Load().CloseIdleConnections() }

// dropMalformedChallenge removes a challenge that the SDK would panic on: it
// takes the authority's fourth part between slashes without looking. What is
// left is an answer that refuses the credentials.
func dropMalformedChallenge(answer *http.Response) {
	const header = "WWW-Authenticate"
	for part := range strings.FieldsSeq(answer.Header.Get(header)) {
		authority, ok := strings.CutPrefix(part, "authorization=")
		if ok && strings.Count(authority, "/") < 3 {
			answer.Header.Del(header)
			return
		}
	}
}
