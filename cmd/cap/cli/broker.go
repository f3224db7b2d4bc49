package cli

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/broker"
)

// connect returns a connection to the broker that flags, environment and data
// directory name.
func (a *app) connect(ctx context.Context) (*nats.Conn, error) {
	target, origin, err := a.flags.target()
	if err != nil {
		return nil, err
	}
	a.tried, target.WaitForever = origin, a.patient
	if target.URL != "" {
		shown, ok := withoutSecrets(target.URL)
		if !ok {
			return nil, badAddress(origin)
		}
		a.tried = shown + " (" + origin + ")"
	}
	nc, err := await(ctx, func() (*nats.Conn, error) { return broker.Connect(ctx, target) })
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, capsign.BrokerUnreachable
	case err != nil:
		return nil, err
	}
	nc.SetErrorHandler(a.deny.onError)
	return nc, nil
}

// connectWithin is connect within --timeout.
func (a *app) connectWithin(ctx context.Context) (*nats.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	return a.connect(ctx)
}

// fetchKeys returns the public keys on the broker, of which no worker needs to
// run.
func (a *app) fetchKeys(ctx context.Context) (*capsign.KeySet, error) {
	nc, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	return capsign.FetchKeySet(ctx, nc)
}

// denials remembers that the broker has forbidden something. The broker says so
// beside the request, which itself only stays unanswered.
type denials struct {
	any   atomic.Bool
	first chan struct{} // closed with the first one
}

// onError is the connection's error handler.
func (d *denials) onError(_ *nats.Conn, _ *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrPermissionViolation) && !d.any.Swap(true) {
		close(d.first)
	}
}

// heed returns a context that ends with ctx or once the broker has forbidden
// something: what it has not let through will not be answered.
func (d *denials) heed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-d.first:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// explain returns err, or capsign.Denied where that is why a broker that can be
// reached has not answered.
func (d *denials) explain(err error) error {
	if d.any.Load() && codeOf(err) == capsign.BrokerUnreachable {
		return capsign.Denied
	}
	return err
}

// badAddress refuses what is no URL, without repeating it.
func badAddress(origin string) error {
	return &fault{
		code: capsign.ConfigInvalid, sentence: "The broker's address is not a URL.",
		hint: "it is from " + origin + "; commas separate servers, in a password they are %2C.",
	}
}

// withoutSecrets returns the schemes and hosts of a URL or several, and false
// where one is none.
func withoutSecrets(raw string) (string, bool) {
	servers := strings.Split(raw, ",")
	for i, server := range servers {
		server = strings.TrimSpace(server)
		if !strings.Contains(server, "://") {
			server = "nats://" + server
		}
		parsed, err := url.Parse(server)
		if err != nil || parsed.Host == "" {
			return "", false
		}
		servers[i] = parsed.Scheme + "://" + parsed.Host
	}
	if len(servers) > 1 && strings.Contains(raw, "@") {
		return "several servers", true // what looks like a host may be half a password
	}
	return strings.Join(servers, ","), true
}
