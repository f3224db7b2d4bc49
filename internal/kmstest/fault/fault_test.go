package fault_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/capsign/cap/internal/kmstest/fault"
)

func TestFaultsAreHandedOutInOrder(t *testing.T) {
	var injector fault.Injector
	mustTake := func(method string, want fault.Kind) {
		t.Helper()
		got, broken := injector.Take(method)
		if got.Kind != want || broken != (want != fault.None) {
			t.Errorf("Take(%s) = %q, %v; want %q", method, got.Kind, broken, want)
		}
	}
	mustTake("Sign", fault.None)
	injector.Set(
		fault.Fault{Kind: fault.Error, Times: 2},
		fault.Fault{Kind: fault.Hang, Times: 1, Method: "Sign"},
		fault.Fault{Kind: fault.WrongKey, Method: "Sign"})
	mustTake("Get", fault.Error)
	mustTake("Sign", fault.Error)
	mustTake("Get", fault.None)
	mustTake("Sign", fault.Hang)
	mustTake("Sign", fault.WrongKey)
	mustTake("Sign", fault.WrongKey)
	injector.Clear()
	mustTake("Sign", fault.None)
	if sign, all := injector.Calls("Sign"), injector.Calls(""); sign != 6 || all != 8 {
		t.Errorf("%d and %d calls, want 6 and 8", sign, all)
	}
}

func TestTimesHoldUnderConcurrency(t *testing.T) {
	var injector fault.Injector
	injector.Set(fault.Fault{Kind: fault.Error, Times: 40})
	var callers sync.WaitGroup
	broken := make(chan bool, 100)
	for range 100 {
		callers.Go(func() {
			_, taken := injector.Take("Sign")
			broken <- taken
		})
	}
	callers.Wait()
	close(broken)
	count := 0
	for taken := range broken {
		if taken {
			count++
		}
	}
	if count != 40 {
		t.Errorf("%d calls broke, want 40", count)
	}
}

// echo starts a server that answers each line with itself.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() { _ = listener.Close(); conns.Wait() })
	return listener.Addr().String()
}

// caller is a client of echo's.
type caller struct {
	net.Conn
	in *bufio.Reader
}

// dial connects through the proxy.
func dial(t *testing.T, proxy *fault.Proxy) caller {
	t.Helper()
	conn, err := net.Dial("tcp", proxy.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return caller{conn, bufio.NewReader(conn)}
}

// call sends a line and reads it back within the time.
func (c caller) call(within time.Duration) error {
	_ = c.SetDeadline(time.Now().Add(within))
	if _, err := c.Write([]byte("line\n")); err != nil {
		return err
	}
	_, err := c.in.ReadString('\n')
	return err
}

func TestStalledConnectionsAreSilentAndComeBack(t *testing.T) {
	proxy := fault.BlackHole(t, echo(t))
	old := dial(t, proxy)
	if err := old.call(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	proxy.Stall()
	if err := old.call(100 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a stalled connection: %v", err)
	}
	fresh := dial(t, proxy)
	if err := fresh.call(5 * time.Second); err != nil {
		t.Errorf("a new connection: %v", err)
	}
	proxy.StallAll()
	if err := dial(t, proxy).call(100 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a new connection with all stalled: %v", err)
	}
	proxy.Resume()
	for name, conn := range map[string]caller{"old": old, "fresh": fresh} {
		if err := conn.call(5 * time.Second); err != nil {
			t.Errorf("the %s connection after Resume: %v", name, err)
		}
	}
	proxy.Drop()
	_ = old.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.Copy(io.Discard, old); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a dropped connection: %v", err)
	}
	if n := proxy.Accepted(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
}

// Close returns only when nothing of the proxy's runs any more, however its
// connections stand.
func TestCloseEndsStalledConnections(t *testing.T) {
	proxy := fault.BlackHole(t, echo(t))
	conn := dial(t, proxy)
	if err := conn.call(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	proxy.Stall()
	_ = conn.call(10 * time.Millisecond)
	proxy.Close()
	proxy.Close()
	if err := conn.call(5 * time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection of a closed proxy: %v", err)
	}
}

func TestCertificates(t *testing.T) {
	certificates := fault.TLS(t)
	content, err := os.ReadFile(certificates.CAFile)
	fromFile := x509.NewCertPool()
	if err != nil || !fromFile.AppendCertsFromPEM(content) || !fromFile.Equal(certificates.Pool) {
		t.Fatalf("the file does not hold the pool: %v", err)
	}
	for name, test := range map[string]struct {
		certificate tls.Certificate
		trusted     bool
	}{
		"server":    {certificates.Server, true},
		"untrusted": {certificates.Untrusted, false},
		"misnamed":  {certificates.Misnamed, false},
	} {
		for _, host := range []string{"127.0.0.1", "localhost"} {
			err := handshake(t, test.certificate, &tls.Config{RootCAs: certificates.Pool, ServerName: host})
			if _, refused := errors.AsType[*tls.CertificateVerificationError](err); refused == test.trusted || test.trusted && err != nil {
				t.Errorf("%s at %s: %v", name, host, err)
			}
		}
	}
}

// handshake returns what a client says of a server's certificate.
func handshake(t *testing.T, certificate tls.Certificate, cfg *tls.Config) error {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	if err != nil {
		t.Fatal(err)
	}
	var server sync.WaitGroup
	defer server.Wait()
	defer listener.Close()
	server.Go(func() {
		if conn, err := listener.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	})
	conn, err := tls.Dial("tcp", listener.Addr().String(), cfg)
	if err != nil {
		return err
	}
	return conn.Close()
}
