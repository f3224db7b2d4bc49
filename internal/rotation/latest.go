package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
)

// Latest returns m moved on to the newest keyring of the broker's that m's trust
// leads to, and to the present time. A broker that has nothing newer, or nothing
// to be believed, changes nothing. Where nothing is known and nothing found it
// wraps capsign.KeyringMissing, or the code of what was refused.
func Latest(ctx context.Context, nc *nats.Conn, m Mark) (Mark, error) {
	store, err := openExisting(ctx, nc)
	var chain []*capsign.SignedKeyring
	if err == nil {
		chain, err = store.Chain(ctx)
	}
	if err != nil && !errors.Is(err, capsign.KeyringMissing) {
		return m, err
	}
	newest, refused := m.Advance(chain)
	if newest == nil {
		if refused != nil {
			return m, refused
		}
		return m, fmt.Errorf("rotation: latest keyring: %w", capsign.KeyringMissing)
	}
	m.Signed, m.LatestSeen = newest, m.Now(time.Now().UTC())
	return m, nil
}
