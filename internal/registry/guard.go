package registry

import (
	"net"
	"net/http"

	"github.com/capsign/cap/capsign"
)

// guarded is a transport that sends nothing in the clear but to this machine,
// wherever a redirect or a registry's word of its token server leads.
type guarded struct {
	base http.RoundTripper
}

// RoundTrip sends a request.
func (g guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !isLoopback(req.URL.Host) {
		return nil, capsign.TLSUntrusted
	}
	return g.base.RoundTrip(req)
}

// isLoopback reports whether a host, with or without a port, is this machine by
// name or address.
func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
