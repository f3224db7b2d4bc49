package awskms

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/capsign/cap/capsign"
)

const (
	// maxIdle is how many connections stay open to an endpoint without HTTP/2:
	// more than a worker signs at once, or it would make new ones all the time.
	maxIdle = 256
	// maxTimeouts is how many requests in a row may end without an answer before
	// their connections are given up.
	maxTimeouts = 2
	// minAge is how old connections are at least when they are given up, so that
	// a service that is merely slow does not get new ones without end.
	minAge = time.Second
)

// pool sends requests over connections that it replaces when they have gone
// silent: a firewall that forgot one swallows requests for as long as TCP tries,
// and over HTTP/2 that would be all of them. It follows no redirects; the
// service has none.
type pool struct {
	roots   *x509.CertPool // nil means the system's
	log     *slog.Logger
	current atomic.Pointer[connections]
}

// connections is one generation of a pool.
type connections struct {
	*http.Transport
	since    time.Time
	timeouts atomic.Int32 // in a row
}

// newPool returns a pool that trusts the certificates in caFile, or the
// system's where that is empty.
func newPool(caFile string, log *slog.Logger) (*pool, error) {
	p := &pool{log: log}
	if caFile != "" {
		certificates, err := os.ReadFile(caFile)
		p.roots = x509.NewCertPool()
		if err != nil || !p.roots.AppendCertsFromPEM(certificates) {
			return nil, fmt.Errorf("awskms: ca file: %w", capsign.ConfigInvalid)
		}
	}
	p.current.Store(p.connect())
	return p, nil
}

// connect returns a generation without connections.
func (p *pool) connect() *connections {
	dialer := net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}
	return &connections{since: time.Now(), Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: p.roots},
		TLSHandshakeTimeout: 2 * time.Second,
		MaxIdleConns:        maxIdle,
		MaxIdleConnsPerHost: maxIdle,
		IdleConnTimeout:     90 * time.Second,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: time.Second, PingTimeout: time.Second},
	}}
}

// Do sends a request and returns the head of its answer. It is what the SDK
// wants of an HTTP client.
func (p *pool) Do(request *http.Request) (*http.Response, error) {
	used := p.current.Load()
	response, err := used.RoundTrip(request)
	switch {
	case err == nil:
		used.timeouts.Store(0)
	case errors.Is(request.Context().Err(), context.DeadlineExceeded):
		p.timedOut(request.Context(), used)
	}
	return response, err
}

// timedOut counts a request that ended without an answer and replaces the
// connections it went over when there were too many.
func (p *pool) timedOut(ctx context.Context, used *connections) {
	if used.timeouts.Add(1) < maxTimeouts || time.Since(used.since) < minAge {
		return
	}
	if p.current.CompareAndSwap(used, p.connect()) {
		p.log.WarnContext(ctx, "connections to aws kms replaced", "code", string(capsign.ProviderTimeout))
		used.CloseIdleConnections()
	}
}

// close closes the connections that are not in use; one in use is closed when
// its request ends.
func (p *pool) close() { p.current.Load().CloseIdleConnections() }

// onLoopback reports whether host, a name or an address, is this machine's own.
func onLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}
