// Package aws is a key management service that speaks as AWS's does, in the
// process of the tests and on loopback: awsJson1.1 over TLS, by HTTP/1.1 and
// HTTP/2. What it knows of the service is what AWS documents; it uses nothing of
// AWS's SDK.
//
// It checks that a request is signed, by whom and when, but not the signature
// itself.
package aws

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/capsign/cap/internal/kmstest/fault"
)

// Options describes a server. Its zero value is usable.
type Options struct {
	// Region is the AWS region that it is; empty means eu-central-1.
	Region string
	// Account is the account that owns its keys; empty means 111122223333.
	Account string
	// AccessKey is the one access key id that it knows; empty means any.
	AccessKey string
	// ServiceTime is how long an operation takes.
	ServiceTime time.Duration
	// Lag is how many calls do not find a key yet that CreateKey made.
	Lag int
	// Plain makes it speak http, without TLS.
	Plain bool
	// HTTP1 makes it refuse HTTP/2.
	HTTP1 bool
}

// Server is a running service. All its methods are safe for concurrent use.
type Server struct {
	// Faults breaks its answers; the methods are the names of operations.
	Faults fault.Injector

	options      Options
	certificates fault.Certificates
	certificate  atomic.Pointer[tls.Certificate]
	dir          string // of the certificates
	address      string
	done         chan struct{} // closed by Close

	mu      sync.Mutex
	keys    map[string]*key   // by id
	aliases map[string]string // ids by alias name
	http    *http.Server      // nil while stopped
	running sync.WaitGroup
}

// New starts a server on a free port of loopback. It must be closed.
func New(options Options) (*Server, error) {
	if options.Region == "" {
		options.Region = "eu-central-1"
	}
	if options.Account == "" {
		options.Account = "111122223333"
	}
	dir, err := os.MkdirTemp("", "kmstest-aws-")
	if err != nil {
		return nil, fmt.Errorf("aws: %w", err)
	}
	s := &Server{options: options, dir: dir, address: "127.0.0.1:0", done: make(chan struct{}),
		keys: make(map[string]*key), aliases: make(map[string]string)}
	if s.certificates, err = fault.NewCertificates(dir); err == nil {
		s.Present(s.certificates.Server)
		err = s.Start()
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return s, nil
}

// Start listens again after Stop, on the same port.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", s.address)
	if err != nil {
		return fmt.Errorf("aws: %w", err)
	}
	s.address = listener.Addr().String()
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	s.http = server
	s.running.Go(func() { s.serve(server, listener) })
	return nil
}

// serve answers until the server is closed.
func (s *Server) serve(server *http.Server, listener net.Listener) {
	if s.options.Plain {
		_ = server.Serve(listener) // it ends with http.ErrServerClosed
		return
	}
	server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate.Load(), nil }}
	if s.options.HTTP1 {
		server.TLSConfig.NextProtos = []string{"http/1.1"}
		server.Protocols = new(http.Protocols)
		server.Protocols.SetHTTP1(true)
	}
	_ = server.ServeTLS(listener, "", "")
}

// Stop closes all connections and refuses new ones until Start.
func (s *Server) Stop() {
	s.mu.Lock()
	server := s.http
	s.http = nil
	s.mu.Unlock()
	if server != nil {
		_ = server.Close()
	}
	s.running.Wait()
}

// Close stops the server for good.
func (s *Server) Close() error {
	s.mu.Lock()
	select {
	case <-s.done:
		s.mu.Unlock()
		return errors.New("aws: closed twice")
	default:
		close(s.done)
	}
	s.mu.Unlock()
	s.Stop()
	return os.RemoveAll(s.dir)
}

// Endpoint returns the server's URL.
func (s *Server) Endpoint() string {
	if s.options.Plain {
		return "http://" + s.address
	}
	return "https://" + s.address
}

// Address returns the server's host:port.
func (s *Server) Address() string { return s.address }

// Region returns the region that the server is.
func (s *Server) Region() string { return s.options.Region }

// Certificates returns certificates of which the server presents the first, and
// the CAFile that a client trusts it by.
func (s *Server) Certificates() fault.Certificates { return s.certificates }

// Present makes new connections see another certificate.
func (s *Server) Present(certificate tls.Certificate) { s.certificate.Store(&certificate) }
