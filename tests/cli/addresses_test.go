package cli_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
)

// muteAddress is where connections are accepted and nothing is said.
func muteAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go io.Copy(io.Discard, conn) //nolint:errcheck // until the client gives up
		}
	}()
	return "nats://" + listener.Addr().String()
}

// deadAddress is where nobody listens.
func deadAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // it has no connections
	return "nats://" + listener.Addr().String()
}

// startCollector starts an OTLP/HTTP endpoint that appends the spans it gets,
// as they come, to a file.
func startCollector(t *testing.T) (url, spans string) {
	t.Helper()
	spans = t.TempDir() + "/spans"
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		file, err := os.OpenFile(spans, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Error(err)
			return
		}
		defer file.Close() //nolint:errcheck // the script sees what is missing
		if _, err := io.Copy(file, r.Body); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, spans
}
