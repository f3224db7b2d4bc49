package cli

import (
	"context"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

// checkNewlyActive has a worker prove, before the keyring may say so, that it
// signs with each kid that would sign from now on and does not sign yet.
func (a *app) checkNewlyActive(ctx context.Context, c *change, next *capsign.Keyring) error {
	if c.unchecked {
		return nil
	}
	proved := make(map[string][]capsign.KeyCheck) // by pool
	for _, r := range next.Keys {
		if c.held != nil {
			before, err := c.held.Keyring().Rotation(r.Name)
			if err == nil && before.Active() == r.Active() {
				continue
			}
		}
		checks, asked := proved[r.Pool]
		if !asked {
			var err error
			checks, err = ask(ctx, a, func(ctx context.Context) ([]capsign.KeyCheck, error) {
				return capsign.CheckKeys(ctx, c.nc, r.Pool)
			})
			if err != nil {
				return unproved(err, r)
			}
			proved[r.Pool] = checks
		}
		if err := proofOf(checks, r); err != nil {
			return err
		}
	}
	return nil
}

// proofOf returns nil where a worker has signed its canary with the kid that is
// to be active.
func proofOf(checks []capsign.KeyCheck, r capsign.KeyRotation) error {
	at := slices.IndexFunc(checks, func(c capsign.KeyCheck) bool { return c.KID == r.Active() })
	switch {
	case at < 0:
		return unproved(capsign.KIDUnknown, r)
	case checks[at].Code != "":
		return unproved(capsign.CodeOf(checks[at].Code), r)
	}
	return nil
}

// unproved says that nothing was published, because no worker has proved that
// it signs with a key.
func unproved(err error, r capsign.KeyRotation) error {
	code := codeOf(err)
	hint := mending[code]
	switch code {
	case capsign.KIDUnknown:
		hint = "no worker of pool POOL holds this kid; 'cap keys check' lists those it signs with, 'cap keys generate' makes one."
	case capsign.ResultTimeout:
		hint = "the pool's worker did not answer; try again with a longer --timeout, and see its log."
	case capsign.Denied:
		hint = hints[code]
	}
	return &fault{
		code:     code,
		sentence: "Nothing was published: no worker of pool " + r.Pool + " has proved that it signs with " + r.Active() + ". " + code.Sentence(),
		hint:     forPool(hint, r.Pool),
	}
}

// replicas returns how many servers keep the public keys: as many are to keep
// the keyrings.
func replicas(ctx context.Context, nc *nats.Conn) int {
	js, err := jetstream.New(nc)
	if err != nil {
		return 1
	}
	stream, err := js.Stream(ctx, "KV_"+capsign.KeysBucket)
	if err != nil {
		return 1
	}
	return stream.CachedInfo().Config.Replicas
}
