package capsign

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// ClientConfig says which key a [Client] signs with and how long it waits. The
// zero value signs with the only key of the only pool on the broker.
type ClientConfig struct {
	// Tenant is the publisher's tenant as the broker enforces it; empty means
	// [TenantLocal].
	Tenant string
	// Pool is the pool to ask; empty means the only one, or the one KID is in.
	Pool string
	// Key is the name of the key; empty means the pool's only one, or the one
	// KID belongs to.
	Key string
	// KID asks for one key version, by kid, SPKI SHA-256 or JWK thumbprint; empty
	// means whichever version is active when the request is signed.
	KID string
	// Timeout bounds the wait for one request, from its first publication; a
	// request that is older is not signed any more. Zero means 30 seconds on the
	// express lane and 15 minutes on the bulk lane. A deadline of ctx's that is
	// earlier wins.
	Timeout time.Duration
	// Pack is the most items that [Client.SignAll] puts into one request. Zero
	// means as many as the pool signs fast enough, up to [MaxItems].
	Pack int
	// Window is the most requests that [Client.SignAll] keeps in flight; zero
	// means 16.
	Window int
	// SkipVerify trusts the queue: signatures are returned without being checked
	// against the public key that their kid vouches for. A check costs about
	// twice an Ed25519 signature, on the publisher's machine.
	SkipVerify bool
}

// Client sends signing requests and receives their results over one NATS
// connection. It is safe for concurrent use; a process needs one per key.
type Client struct {
	nc   *nats.Conn
	cfg  ClientConfig
	id   string // the <client> of its request ids
	acks string // inbox of the broker's publish acknowledgements

	telemetry telemetry

	pools *poolWatch
	keys  *sync.Map // kid → Key, those seen and checked
	size  *packSize
	sent  atomic.Uint64

	mu    sync.Mutex
	calls map[uint64]*call // in flight, by the <n> of their ids

	release []func() // undoes what NewClient did to nc
}

// NewClient returns a Client on nc, which stays the caller's to close and must
// outlive the Client. It looks up the pool and key that cfg names and wraps
// [PoolUnknown], [KeyUnknown], [KIDUnknown] or, as an [AmbiguousError],
// [Ambiguous] where they are not to be had.
func NewClient(ctx context.Context, nc *nats.Conn, cfg ClientConfig) (*Client, error) {
	c := &Client{
		nc: nc, cfg: cfg, id: NewClientID(),
		keys: new(sync.Map), size: newPackSize(cfg.Pack), calls: make(map[uint64]*call),
	}
	c.cfg.Tenant = cmp.Or(cfg.Tenant, TenantLocal)
	c.cfg.Window = cmp.Or(cfg.Window, 16)
	if err := c.open(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("capsign: client: %w", err)
	}
	c.telemetry = newTelemetry(c.cfg.Pool)
	return c, nil
}

// open starts the pool watch and the subscriptions and settles the target.
func (c *Client) open(ctx context.Context) (err error) {
	if err := CheckToken(c.cfg.Tenant); err != nil {
		return err
	}
	if c.pools, err = watchPools(ctx, c.nc); err != nil {
		return err
	}
	c.release = append(c.release, c.pools.stop)
	if c.cfg.KID != "" {
		if err := c.resolveKID(ctx); err != nil {
			return err
		}
	}
	if err := c.resolvePool(); err != nil {
		return err
	}
	return c.listen()
}

// listen subscribes to what answers the client's requests.
func (c *Client) listen() error {
	c.acks = c.nc.NewInbox()
	if err := c.subscribe(ResultSubject(c.cfg.Tenant, c.id+".*"), c.onResult); err != nil {
		return err
	}
	if err := c.subscribe(c.acks+".*", c.onAck); err != nil {
		return err
	}
	c.watchPermissions()
	return nil
}

// subscribe adds a subscription that ends with the client.
func (c *Client) subscribe(subject string, handle nats.MsgHandler) error {
	sub, err := c.nc.Subscribe(subject, handle)
	if err != nil {
		return BrokerUnreachable
	}
	// A pending limit would drop results that the store would have to repeat.
	_ = sub.SetPendingLimits(-1, -1) // fails only on a closed subscription
	c.release = append(c.release, func() { _ = sub.Unsubscribe() })
	return nil
}

// resolveKID finds the key version that cfg.KID names, and with it the pool and
// the key.
func (c *Client) resolveKID(ctx context.Context) error {
	ring, err := FetchKeySet(ctx, c.nc)
	if err != nil {
		return err
	}
	key, err := ring.Key(c.cfg.KID)
	if err != nil {
		return err
	}
	otherPool := c.cfg.Pool != "" && c.cfg.Pool != key.Pool
	otherKey := c.cfg.Key != "" && c.cfg.Key != key.Name
	if otherPool || otherKey {
		return KIDUnknown
	}
	c.keys.Store(key.KID, key)
	c.cfg.KID, c.cfg.Pool, c.cfg.Key = key.KID, key.Pool, key.Name
	return nil
}

// resolvePool settles which pool and key to ask.
func (c *Client) resolvePool() error {
	pools := c.pools.all()
	if c.cfg.Pool == "" {
		name, err := only("pool", pools)
		if err != nil {
			return err
		}
		c.cfg.Pool = name
	}
	pool, known := pools[c.cfg.Pool]
	if !known {
		return PoolUnknown
	}
	if len(pool.Current) == 0 && pool.State == PoolPaused {
		return pool.Code // its worker never got as far as its keys
	}
	if c.cfg.Key == "" {
		name, err := only("key", pool.Current)
		if err != nil {
			return err
		}
		c.cfg.Key = name
	}
	if _, known := pool.Current[c.cfg.Key]; !known {
		return KeyUnknown
	}
	return nil
}

// only returns the single name in a map of candidates.
func only[V any](what string, candidates map[string]V) (string, error) {
	names := slices.Sorted(maps.Keys(candidates))
	switch {
	case len(names) == 1:
		return names[0], nil
	case len(names) > 1:
		return "", &AmbiguousError{What: what, Choices: names}
	case what == "key":
		return "", KeyUnknown
	}
	return "", PoolUnknown
}

// Pool returns the name of the pool that the client asks.
func (c *Client) Pool() string { return c.cfg.Pool }

// KeyName returns the name of the key that the client signs with.
func (c *Client) KeyName() string { return c.cfg.Key }

// Sign signs one message on the express lane, with the key version that is
// active or the one that the configuration asks for. It returns the request's
// id with the signature. On error there is no signature; the error wraps one
// [Code], and [ResultTimeout] or [OutcomeUnknown] mean that one may yet be made
// by a worker, though nobody will see it.
func (c *Client) Sign(ctx context.Context, msg []byte) (Signed, error) {
	return c.signOne(ctx, c.cfg.KID, msg)
}

// signOne is Sign for a given key version.
func (c *Client) signOne(ctx context.Context, kid string, msg []byte) (Signed, error) {
	res, err := c.exchange(ctx, Express, kid, [][]byte{msg})
	if err != nil {
		return Signed{}, err
	}
	return c.settle(ctx, res, 0, Item{Message: msg})
}

// Close ends the client's subscriptions. Calls still waiting go on reading the
// results store until their deadline.
func (c *Client) Close() {
	for _, release := range slices.Backward(c.release) {
		release()
	}
	c.release = nil
}
