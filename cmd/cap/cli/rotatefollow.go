package cli

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

const (
	// followTime is how long a command waits for workers to follow what it has
	// published. They take less than a second.
	followTime = 3 * time.Second
	// followEvery is how often it looks.
	followEvery = 50 * time.Millisecond
)

// awaitWorkers waits until workers say that they sign with the kids that a
// change has made active. It returns nil where there is nothing to wait for;
// false means that none has said so in time, which changes nothing about the
// change.
func awaitWorkers(ctx context.Context, nc *nats.Conn, plan rotation.Plan) *bool {
	var moved []rotation.KeyPlan
	for _, key := range plan.Keys {
		if key.Active.Before != "" && key.Active.Before != key.Active.After {
			moved = append(moved, key)
		}
	}
	if len(moved) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, followTime)
	defer cancel()
	for {
		pools, err := capsign.FetchPools(ctx, nc)
		if err != nil {
			return new(false)
		}
		if followed(pools, moved) {
			return new(true)
		}
		select {
		case <-time.After(followEvery):
		case <-ctx.Done():
			return new(false)
		}
	}
}

// followed reports whether the pools sign with the kids that are active now.
func followed(pools map[string]capsign.Pool, moved []rotation.KeyPlan) bool {
	for _, key := range moved {
		if pools[key.Pool].Current[key.Key] != key.Active.After {
			return false
		}
	}
	return true
}
