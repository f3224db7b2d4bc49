// Package azure is an in-process Azure Key Vault, with the token endpoint of
// Microsoft Entra beside it, that the real SDK talks to over TLS.
//
// It does what is documented of the service: the first request of a client is
// answered with a challenge, versions come in pages of 25 in no useful order
// and were created in whole seconds, a disabled key can be read but does not
// sign. What it cannot show is how the service is operated: its quotas, its
// latency, its regions.
//
// Clients believe that they talk to [Server.VaultURL], a name below
// vault.azure.net, so that nothing of how they check challenges and
// certificates is turned off. Only the address they dial is [Server.Endpoint].
package azure

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/capsign/cap/internal/kmstest/fault"
)

// Options says what the vault and its tenant are called. The zero value is
// usable.
type Options struct {
	// Vault is the vault's name; empty is "cap-test".
	Vault string
	// Tenant is the id of the Entra tenant; empty is a fixed one.
	Tenant string
	// ClientID and ClientSecret are those of the one application that gets
	// tokens; empty is a fixed pair.
	ClientID, ClientSecret string
	// TokenLife is how long tokens are good for; zero is an hour.
	TokenLife time.Duration
	// Clock tells the vault's time; nil is time.Now.
	Clock func() time.Time
}

// Server is one vault and one tenant. All methods are safe for concurrent use.
type Server struct {
	// Faults breaks calls. Its methods are GetKey, ListVersions, Sign, CreateKey
	// and RotateKey for authorised requests, Challenge for a request without a
	// token, and Discovery and Token for Entra's.
	Faults *fault.Injector

	opts     Options
	dir      string // of the CA file
	listener net.Listener
	server   *http.Server
	serving  sync.WaitGroup

	own         tls.Certificate
	certificate atomic.Pointer[tls.Certificate]
	resource    atomic.Pointer[string] // of the challenge
	authority   atomic.Pointer[string] // of the challenge
	serviceTime atomic.Int64           // nanoseconds
	exportable  atomic.Bool            // whether keys are made so
	connections atomic.Int64           // accepted so far
	mangle      atomic.Pointer[func([]byte) []byte]
	observe     atomic.Pointer[func([]byte)]

	mu     sync.Mutex
	keys   map[string][]*version // by name, oldest first
	tokens map[string]time.Time  // what was issued, with its expiry
}

// New starts a server on a free port of loopback.
func New(opts Options) (*Server, error) {
	opts.Vault = cmp.Or(opts.Vault, "cap-test")
	opts.Tenant = cmp.Or(opts.Tenant, "72f988bf-0000-4000-8000-2d7cd011db47")
	opts.ClientID = cmp.Or(opts.ClientID, "11111111-0000-4000-8000-000000000001")
	opts.ClientSecret = cmp.Or(opts.ClientSecret, "client-secret-of-the-test")
	opts.TokenLife = cmp.Or(opts.TokenLife, time.Hour)
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	s := &Server{Faults: new(fault.Injector), opts: opts, keys: make(map[string][]*version), tokens: make(map[string]time.Time)}
	if err := s.start(); err != nil {
		_ = os.RemoveAll(s.dir)
		return nil, fmt.Errorf("azure: %w", err)
	}
	return s, nil
}

// start makes the certificate and begins to serve.
func (s *Server) start() (err error) {
	if s.dir, err = os.MkdirTemp("", "azure-"); err != nil {
		return err
	}
	if s.own, err = newCertificate(s.CAFile(), s.host()); err != nil {
		return err
	}
	s.PresentOwn()
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	s.Challenge(s.Endpoint()+"/"+s.opts.Tenant, "https://vault.azure.net")
	s.server = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.connections.Add(1)
			}
		},
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.certificate.Load(), nil
		}},
	}
	s.serving.Go(func() { _ = s.server.ServeTLS(s.listener, "", "") }) // it ends with Close
	return nil
}

// Connections returns how many connections were made to the server.
func (s *Server) Connections() int { return int(s.connections.Load()) }

// Close ends the server and its connections.
func (s *Server) Close() {
	_ = s.server.Close()
	s.serving.Wait()
	_ = os.RemoveAll(s.dir)
}

// host is the name of the vault in DNS.
func (s *Server) host() string { return s.opts.Vault + ".vault.azure.net" }

// VaultURL returns the URL that the vault has in Azure.
func (s *Server) VaultURL() string { return "https://" + s.host() }

// Addr returns the host:port the server really listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Endpoint returns the URL that the server really listens on. It is that of
// the tenant as well.
func (s *Server) Endpoint() string { return "https://" + s.Addr() }

// CAFile returns the path of a PEM file that makes a client trust the server,
// as VaultURL and as Endpoint.
func (s *Server) CAFile() string { return s.dir + "/ca.pem" }

// Environment returns the variables that make azidentity's environment
// credential get its tokens here.
func (s *Server) Environment() []string {
	return []string{
		"AZURE_AUTHORITY_HOST=" + s.Endpoint(),
		"AZURE_TENANT_ID=" + s.opts.Tenant,
		"AZURE_CLIENT_ID=" + s.opts.ClientID,
		"AZURE_CLIENT_SECRET=" + s.opts.ClientSecret,
		"AZURE_TOKEN_CREDENTIALS=EnvironmentCredential",
	}
}

// SetServiceTime makes every signature take that long.
func (s *Server) SetServiceTime(d time.Duration) { s.serviceTime.Store(int64(d)) }

// MakeExportable has keys be made with private keys that can be exported.
func (s *Server) MakeExportable(yes bool) { s.exportable.Store(yes) }

// Present makes new connections see another certificate.
func (s *Server) Present(certificate tls.Certificate) { s.certificate.Store(&certificate) }

// PresentOwn makes new connections see the certificate that CAFile is about.
func (s *Server) PresentOwn() { s.Present(s.own) }

// Challenge replaces the authority and the resource of the challenge.
func (s *Server) Challenge(authority, resource string) {
	s.authority.Store(&authority)
	s.resource.Store(&resource)
}

// Mangle has f make another answer of each signature; nil leaves them alone.
func (s *Server) Mangle(f func(signature []byte) []byte) { s.mangle.Store(&f) }

// Observe has f see each digest that is to be signed; nil ends that.
func (s *Server) Observe(f func(digest []byte)) { s.observe.Store(&f) }

// wait passes the time of one signature, or less where the client leaves.
func (s *Server) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// id returns the id of a key version.
func (s *Server) id(name, version string) string {
	return strings.Join([]string{s.VaultURL(), "keys", name, version}, "/")
}
