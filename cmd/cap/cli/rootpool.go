package cli

import (
	"context"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// poolRoot is a root key that a pool's worker signs with.
type poolRoot struct {
	a      *app
	nc     *nats.Conn
	key    capsign.Key
	public capsign.RootKey
}

// poolRoot finds the key of a pool that is to sign keyrings.
func (a *app) poolRoot(ctx context.Context, nc *nats.Conn, spec rootSpec) (rotation.RootSigner, error) {
	name, keyName := spec.pool()
	pools, err := capsign.FetchPools(ctx, nc)
	if err != nil {
		return nil, err
	}
	pool, err := (&flags{pool: name, key: keyName}).choosePool(pools)
	if err != nil {
		return nil, err
	}
	ring, err := capsign.FetchKeySet(ctx, nc)
	if err != nil {
		return nil, err
	}
	kid := (&flags{key: keyName}).summarizePool(pool, nil).CurrentKID
	if kid == "" {
		return nil, misuse("Pool %s has several keys; name one: --root %s%s/KEY.", name, poolPrefix, name)
	}
	key, err := ring.Key(kid)
	if err != nil {
		return nil, err
	}
	return poolRoot{a, nc, key, capsign.RootKey{Alg: key.Alg, SPKI: key.SPKI}}, nil
}

// Public returns the key as a root.
func (r poolRoot) Public() capsign.RootKey { return r.public }

// Sign has the pool's worker sign.
func (r poolRoot) Sign(ctx context.Context, msg []byte) ([]byte, error) {
	client, err := await(ctx, func() (*capsign.Client, error) {
		return capsign.NewClient(ctx, r.nc, capsign.ClientConfig{
			Pool: r.key.Pool, Key: r.key.Name, KID: r.key.KID, Timeout: r.a.flags.timeout,
		})
	})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	signed, err := client.Sign(ctx, msg)
	return signed.Bytes, err
}
