// Package broker connects to NATS, and lets a client find the worker that runs
// on the same machine.
package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"

	"github.com/capsign/cap/capsign"
)

// DefaultURL is where a worker's embedded server listens unless told otherwise.
const DefaultURL = "nats://127.0.0.1:4222"

// Target says which broker to connect to, and as whom.
type Target struct {
	// URL is a server, or several with commas; empty means DefaultURL.
	URL string
	// Context is the name of a context of the nats command's; it goes without
	// URL and Creds.
	Context string
	// Creds is the path of a credentials file; empty means none.
	Creds string
	// Name is what the broker's operator sees of the connection.
	Name string
	// WaitForever keeps trying to reconnect for as long as the process runs, as
	// workers do. Clients give up after their own timeout.
	WaitForever bool
}

// Connect returns a connection to the target, or an error that wraps
// capsign.BrokerUnreachable, capsign.Denied or capsign.ConfigInvalid. ctx bounds
// the first attempt.
func Connect(ctx context.Context, target Target) (*nats.Conn, error) {
	opts := []nats.Option{
		nats.Name(target.Name),
		nats.Timeout(dialTimeout(ctx)),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, time.Second),
		nats.PingInterval(10 * time.Second),
	}
	if target.WaitForever {
		opts = append(opts, nats.MaxReconnects(-1))
	}
	if target.Context != "" {
		nc, _, err := natscontext.Connect(target.Context, opts...)
		return nc, connectCode(err)
	}
	if target.Creds != "" {
		opts = append(opts, nats.UserCredentials(target.Creds))
	}
	url := target.URL
	if url == "" {
		url = DefaultURL
	}
	nc, err := nats.Connect(url, opts...)
	return nc, connectCode(err)
}

// dialTimeout is what ctx leaves for dialling, five seconds at most.
func dialTimeout(ctx context.Context) time.Duration {
	const most = 5 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		return max(min(time.Until(deadline), most), time.Millisecond)
	}
	return most
}

// connectCode maps an error of connecting to a code.
func connectCode(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return fmt.Errorf("broker: connect: %w", capsign.Denied)
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded), isNetwork(err):
		return fmt.Errorf("broker: connect: %w", capsign.BrokerUnreachable)
	}
	return fmt.Errorf("broker: connect: %w", capsign.ConfigInvalid)
}

// isNetwork reports whether err came from dialling or from the connection.
func isNetwork(err error) bool {
	_, isOp := errors.AsType[*net.OpError](err)
	_, isDNS := errors.AsType[*net.DNSError](err)
	return isOp || isDNS
}
