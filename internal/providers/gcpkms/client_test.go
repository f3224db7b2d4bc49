package gcpkms

import (
	"context"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/capsign/cap/internal/kmstest/gcp"
)

// timedOut ends n calls over the connection as timeouts.
func timedOut(t *testing.T, c *client, n int) {
	t.Helper()
	expired, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	for range n {
		c.release(expired, c.acquire(), expired.Err())
	}
}

// aged returns the present connection, made to look older.
func aged(c *client) *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link.born = c.link.born.Add(-time.Hour)
	return c.link
}

// present returns the present connection.
func present(c *client) *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link
}

func TestAnswersKeepTheConnection(t *testing.T) {
	server := newServer(t, gcp.Options{Plaintext: true}, gcp.Ed25519)
	c := openKey(t, newConfig(server)).client
	first := aged(c)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for range 5 {
		timedOut(t, c, 1)
		c.release(t.Context(), c.acquire(), nil)
		timedOut(t, c, 1)
		c.release(t.Context(), c.acquire(), status.Error(codes.PermissionDenied, "")) // an answer too
	}
	for range 5 {
		c.release(cancelled, c.acquire(), cancelled.Err()) // the caller left: that says nothing
	}
	if present(c) != first {
		t.Error("a connection with answers between its timeouts was replaced")
	}
	timedOut(t, c, 2)
	if present(c) == first {
		t.Error("a silent connection was not replaced")
	}
}

// A connection that is replaced may be slow rather than silent: what is under way
// on it ends in peace, and then it is closed.
func TestReplacedConnectionEndsItsCalls(t *testing.T) {
	server := newServer(t, gcp.Options{Plaintext: true}, gcp.Ed25519)
	provider := openKey(t, newConfig(server))
	c, old := provider.client, aged(provider.client)
	c.acquire()
	timedOut(t, c, 2)
	next := present(c)
	if next == old {
		t.Fatal("not replaced")
	}
	get := &kmspb.GetPublicKeyRequest{Name: provider.held.Load().versions[provider.current].resource}
	if _, err := old.sdk.GetPublicKey(t.Context(), get); err != nil {
		t.Errorf("a call over the old connection, with one under way: %v", err)
	}
	c.release(t.Context(), old, nil)
	if _, err := old.sdk.GetPublicKey(t.Context(), get); status.Code(err) != codes.Canceled {
		t.Errorf("a call over the old connection, with none under way: %v", err)
	}
	if _, err := next.sdk.GetPublicKey(t.Context(), get); err != nil {
		t.Errorf("a call over the new connection: %v", err)
	}
}

func TestClosedClientMakesNoConnection(t *testing.T) {
	server := newServer(t, gcp.Options{Plaintext: true}, gcp.Ed25519)
	c := openKey(t, newConfig(server)).client
	old := aged(c)
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	timedOut(t, c, 2)
	if present(c) != old {
		t.Error("a closed client has a new connection")
	}
}
