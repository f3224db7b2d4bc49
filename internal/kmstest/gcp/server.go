// Package gcp is a Google Cloud KMS in this process, for the real SDK's clients
// to talk to. It keeps to what Google documents of asymmetric signing: the
// states of key versions, checksums both ways, the limits, and the errors. It
// asks for a token, and does not check it.
//
// [New] starts one for a test, [Start] for anything else.
package gcp

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/capsign/cap/internal/kmstest/fault"
)

// Where the keys of every server are.
const (
	Project  = "cap-test-project"
	Location = "europe-west3"
	KeyRing  = "cap-test-ring"
)

// Options says how a server behaves. Its zero value is one with TLS that
// answers at once.
type Options struct {
	// Plaintext serves without TLS, and does not ask for a token.
	Plaintext bool
	// Certificate is the server's; nil means one that the server makes, and
	// whose authority is in CAFile.
	Certificate *tls.Certificate
	// ServiceTime is how long each call takes at least.
	ServiceTime time.Duration
	// Pending is how long a created version is PENDING_GENERATION.
	Pending time.Duration
	// Addr is the host:port to listen on; empty is a free port of loopback.
	Addr string
}

// Server is a running KMS.
type Server struct {
	// Endpoint is the URL of the gRPC form, RESTEndpoint of the REST form of the
	// same keys.
	Endpoint, RESTEndpoint string
	// CAFile is a PEM file of what the server's own certificate is trusted by;
	// empty where it has none of its own.
	CAFile string
	// Faults is what the calls break with.
	Faults fault.Injector

	opts   Options
	keys   keys
	tokens atomic.Int64 // calls that brought a token
	dir    string       // of CAFile
	conns  conns
	grpc   *grpc.Server
	rest   *http.Server
	serve  sync.WaitGroup
}

// New starts a server that the test closes.
func New(t testing.TB, opts Options) *Server {
	t.Helper()
	server, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return server
}

// Start starts a server on loopback. It serves until Close.
func Start(opts Options) (*Server, error) {
	s := &Server{opts: opts, keys: keys{pending: opts.Pending}}
	config, err := s.tlsConfig()
	if err != nil {
		return nil, errors.Join(err, s.removeDir())
	}
	listener, err := net.Listen("tcp", cmp.Or(opts.Addr, "127.0.0.1:0"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("gcp: %w", err), s.removeDir())
	}
	restListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("gcp: %w", err), listener.Close(), s.removeDir())
	}
	scheme, options := "http://", []grpc.ServerOption{grpc.UnaryInterceptor(s.intercept)}
	if config != nil {
		scheme, options = "https://", append(options, grpc.Creds(credentials.NewTLS(config)))
		restListener = tls.NewListener(restListener, config)
	}
	s.Endpoint, s.RESTEndpoint = scheme+listener.Addr().String(), scheme+restListener.Addr().String()
	s.grpc = grpc.NewServer(options...)
	kmspb.RegisterKeyManagementServiceServer(s.grpc, service{server: s})
	s.rest = &http.Server{Handler: http.HandlerFunc(s.serveREST), ReadHeaderTimeout: 10 * time.Second}
	s.serve.Go(func() { _ = s.grpc.Serve(s.conns.track(listener)) })
	s.serve.Go(func() { _ = s.rest.Serve(restListener) })
	return s, nil
}

// Close ends the server and every call on it, and waits for them.
func (s *Server) Close() error {
	s.grpc.Stop()
	err := s.rest.Close()
	s.serve.Wait()
	return errors.Join(err, s.removeDir())
}

// Tokens returns how many calls brought an access token with them.
func (s *Server) Tokens() int { return int(s.tokens.Load()) }

// tlsConfig returns what to serve with; nil without TLS.
func (s *Server) tlsConfig() (*tls.Config, error) {
	if s.opts.Plaintext {
		return nil, nil //nolint:nilnil // there is none
	}
	certificate := s.opts.Certificate
	if certificate == nil {
		var err error
		if s.dir, err = os.MkdirTemp("", "cap-kmstest-"); err != nil {
			return nil, fmt.Errorf("gcp: %w", err)
		}
		made, err := fault.NewCertificates(s.dir)
		if err != nil {
			return nil, err
		}
		s.CAFile, certificate = made.CAFile, &made.Server
	}
	return &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12}, nil
}

// removeDir removes the directory of CAFile, if there is one.
func (s *Server) removeDir() error {
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// wait waits for d; if the client leaves before, that is the call's error.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	case <-timer.C:
		return nil
	}
}

// conns are the open connections by their client's address, so that a fault can
// cut one. Its zero value has none.
type conns struct{ byClient sync.Map }

// track returns a listener whose connections are kept in c.
func (c *conns) track(listener net.Listener) net.Listener { return trackedListener{listener, c} }

// cut closes the connection from the client's address.
func (c *conns) cut(client string) {
	if conn, ok := c.byClient.Load(client); ok {
		_ = conn.(net.Conn).Close()
	}
}

// trackedListener notes the connections it accepts.
type trackedListener struct {
	net.Listener
	conns *conns
}

// Accept accepts a connection and notes it.
func (l trackedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tracked := trackedConn{conn, l.conns}
	l.conns.byClient.Store(conn.RemoteAddr().String(), tracked)
	return tracked, nil
}

// trackedConn is forgotten when it is closed.
type trackedConn struct {
	net.Conn
	conns *conns
}

// Close closes and forgets the connection.
func (c trackedConn) Close() error {
	c.conns.byClient.Delete(c.RemoteAddr().String())
	return c.Conn.Close()
}
