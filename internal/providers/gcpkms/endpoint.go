package gcpkms

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/capsign/cap/capsign"
)

// endpoint is where KMS is and how it is spoken to. Its zero value is Google's.
type endpoint struct {
	addr      string // host:port; empty is Google's
	plaintext bool
	tls       *tls.Config
}

// endpoint checks cfg's endpoint and reads its certificates.
func (cfg Config) endpoint() (endpoint, error) {
	out := endpoint{tls: &tls.Config{MinVersion: tls.VersionTLS12}}
	if cfg.CAFile != "" {
		pool, err := readCertificates(cfg.CAFile)
		if err != nil {
			return endpoint{}, err
		}
		out.tls.RootCAs = pool
	}
	if cfg.Endpoint == "" {
		return out, nil
	}
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return endpoint{}, capsign.ConfigInvalid
	}
	port := "443"
	switch {
	case u.Scheme == "http" && isLoopback(u.Hostname()):
		out.plaintext, port = true, "80"
	case u.Scheme != "https":
		return endpoint{}, capsign.ConfigInvalid
	}
	out.addr = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
	return out, nil
}

// readCertificates reads a PEM file of certificates.
func readCertificates(path string) (*x509.CertPool, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, capsign.ConfigInvalid
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, capsign.ConfigInvalid
	}
	return pool, nil
}

// isLoopback reports whether host is this machine's own, by its name or address.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
