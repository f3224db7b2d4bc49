package config

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// nats checks the nats section.
func (r *rules) nats(n NATS) {
	r.that("nats.context", n.Context == "" || n.URL == "", "excludes nats.url; keep one")
	r.that("nats.listen", n.Listen == "" || n.URL+n.Context == "",
		"is the embedded server's, which does not run with nats.url or nats.context")
	r.that("nats.creds", n.Creds == "" || n.URL != "", "goes with nats.url only")
	r.path("nats.creds", n.Creds)
	r.that("nats.listen", n.Listen == "" || isLoopback(n.Listen),
		"must be a loopback address and a port, such as "+DefaultListen)
	r.that("nats.url", n.URL == "" || !strings.Contains(n.URL, "@"),
		"must not hold a user, password or token; name a credentials file in nats.creds")
	r.that("nats.url", n.URL == "" || isNATS(n.URL), "must be one or more URLs such as nats://host:4222, with commas between them")
}

// isLoopback reports whether listen is an address that only this machine
// reaches, and a port.
func isLoopback(listen string) bool {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil && isLoopbackHost(host)
}

// isLoopbackHost reports whether host is this machine and no other.
func isLoopbackHost(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// isNATS reports whether urls is a list of NATS URLs without anything that
// could be a secret. A bare host and port is one too.
func isNATS(urls string) bool {
	for text := range strings.SplitSeq(urls, ",") {
		if !strings.Contains(text, "://") {
			text = "nats://" + text
		}
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
			return false
		}
		if !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return false
		}
	}
	return true
}
