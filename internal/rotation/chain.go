package rotation

import (
	"context"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
)

// Chain returns what [Store.Chain] does, without making a store where there is
// none: that wraps capsign.KeyringMissing.
func Chain(ctx context.Context, nc *nats.Conn) ([]*capsign.SignedKeyring, error) {
	store, err := openExisting(ctx, nc)
	if err != nil {
		return nil, err
	}
	return store.Chain(ctx)
}
