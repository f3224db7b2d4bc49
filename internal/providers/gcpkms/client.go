package gcpkms

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/retry"
)

const (
	// silentAfter is how many timeouts in a row, with no answer in between, make
	// a connection count as silent: one that a firewall forgot stays open, and
	// gRPC's keepalive needs 12 s to find out.
	silentAfter = 2
	// minLinkAge is how old a connection must be to be replaced, so that deadlines
	// shorter than KMS's answers do not make a storm of connections.
	minLinkAge = time.Second
)

// dialer makes a client of the SDK's; it does no I/O.
type dialer func(ctx context.Context, cfg Config, to endpoint, tokens *tokens) (*kms.KeyManagementClient, error)

// client calls KMS over one connection, which it replaces when it is silent. It is
// safe for concurrent use.
type client struct {
	dial    func(context.Context) (*kms.KeyManagementClient, error)
	timeout time.Duration // of an operation without a deadline
	log     *slog.Logger

	mu     sync.Mutex
	link   *link
	closed bool
}

// link is one client of the SDK's and its connection. Its fields are guarded by
// client.mu.
type link struct {
	sdk      *kms.KeyManagementClient
	born     time.Time
	calls    int  // that are under way
	timeouts int  // in a row
	retired  bool // to be closed when the last call returns
}

// newClient finds credentials and readies a connection, which the first call
// makes. It wraps [capsign.ConfigInvalid] or [capsign.CredentialsInvalid].
func newClient(ctx context.Context, op string, cfg Config, dial dialer) (*client, error) {
	to, err := cfg.endpoint()
	if err != nil {
		return nil, refuse(op, err)
	}
	timeout := cmp.Or(cfg.CallTimeout, defaultCallTimeout)
	var credentials *tokens
	if !to.plaintext {
		bounded, cancel := withTimeout(ctx, timeout)
		defer cancel()
		if credentials, err = findCredentials(bounded); err != nil {
			return nil, refuse(op, err)
		}
	}
	c := &client{
		dial:    func(ctx context.Context) (*kms.KeyManagementClient, error) { return dial(ctx, cfg, to, credentials) },
		timeout: timeout,
		log:     cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)),
	}
	sdk, err := c.dial(ctx)
	if err != nil {
		return nil, refuse(op, capsign.ConfigInvalid)
	}
	c.link = &link{sdk: sdk, born: time.Now()}
	return c, nil
}

// dialGRPC makes a client whose connection is kept alive and made again soon. The
// SDK's own retries, logs and telemetry are off: they would hide true errors, and
// tell of resources and messages.
func dialGRPC(ctx context.Context, _ Config, to endpoint, tokens *tokens) (*kms.KeyManagementClient, error) {
	transport := insecure.NewCredentials()
	opts := []option.ClientOption{option.WithTelemetryDisabled(), option.WithLogger(slog.New(slog.DiscardHandler))}
	if to.plaintext {
		opts = append(opts, option.WithoutAuthentication())
	} else {
		transport = trust{credentials.NewTLS(to.tls)}
		opts = append(opts, option.WithAuthCredentials(tokens.Credentials))
	}
	if to.addr != "" {
		opts = append(opts, option.WithEndpoint(to.addr))
	}
	for _, dial := range []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 2 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 2 * time.Second,
		}),
	} {
		opts = append(opts, option.WithGRPCDialOption(dial))
	}
	return withoutRetries(kms.NewKeyManagementClient(ctx, opts...))
}

// withoutRetries turns the SDK's own retries and timeouts off.
func withoutRetries(sdk *kms.KeyManagementClient, err error) (*kms.KeyManagementClient, error) {
	if err != nil {
		return nil, err
	}
	sdk.CallOptions = &kms.KeyManagementCallOptions{}
	return sdk, nil
}

// call calls rpc until it succeeds, fails for good or the time is up, and returns
// its answer or an error with one code.
func call[T any](ctx context.Context, op string, c *client, rpc func(context.Context, *kms.KeyManagementClient) (T, error)) (T, error) {
	return callWith(ctx, op, c, retry.Default, rpc)
}

// callWith is call with a policy of its own.
func callWith[T any](ctx context.Context, op string, c *client, policy retry.Policy, rpc func(context.Context, *kms.KeyManagementClient) (T, error)) (T, error) {
	ctx, cancel := withTimeout(ctx, c.timeout)
	defer cancel()
	var answer T
	err := policy.Do(ctx, func(ctx context.Context) error {
		l := c.acquire()
		var err error
		answer, err = rpc(ctx, l.sdk)
		c.release(ctx, l, err)
		return refuse(op, codeOf(ctx, err))
	})
	if err != nil {
		var none T
		return none, err
	}
	return answer, nil
}

// withTimeout gives ctx a deadline if it has none.
func withTimeout(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}

// acquire returns the connection to call over. On a closed one, calls fail.
func (c *client) acquire() *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link.calls++
	return c.link
}

// release takes note of how a call over l ended, and replaces l where it has gone
// silent.
func (c *client) release(ctx context.Context, l *link, err error) {
	c.mu.Lock()
	l.calls--
	if err == nil || ctx.Err() == nil {
		l.timeouts = 0 // there was an answer
	} else if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		l.timeouts++
	}
	if l == c.link && !c.closed && l.timeouts >= silentAfter && time.Since(l.born) >= minLinkAge {
		c.replace(ctx)
	}
	done := l.retired && l.calls == 0
	c.mu.Unlock()
	if done {
		_ = l.sdk.Close()
	}
}

// replace puts a new connection in the place of the present one, which lives on
// until its last call has returned; mu is held.
func (c *client) replace(ctx context.Context) {
	sdk, err := c.dial(context.WithoutCancel(ctx))
	if err != nil {
		return // the old one has its keepalive
	}
	c.link.retired = true
	c.link = &link{sdk: sdk, born: time.Now()}
	c.log.WarnContext(ctx, "connection replaced, it had gone silent", "backend", backend)
}

// close closes the connection. Calls that are under way end with an error.
func (c *client) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	return c.link.sdk.Close()
}
