// Package loginguard keeps a fleet of workers from locking a token with a wrong
// PIN: through the broker, workers take turns at logging in to a token, and
// after one failure nobody tries again until an operator has resumed the pool.
package loginguard

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

const (
	// turnTime is how long a worker that has died in the middle of a login keeps
	// the others waiting.
	turnTime = 15 * time.Second
	// recordTime bounds what is written after a login: less than its turn.
	recordTime = 10 * time.Second
	// pollTime is how often a waiting worker asks whether it is its turn.
	pollTime = 50 * time.Millisecond
)

// Guard is the guard of one pool's workers. It is safe for concurrent use.
type Guard struct {
	kv   jetstream.KeyValue
	pool string
}

// New returns the guard of a pool's workers, which keeps its records in
// capsign.TokensBucket, made with so many replicas where it is missing. Errors
// wrap one capsign.Code.
func New(ctx context.Context, nc *nats.Conn, pool string, replicas int) (*Guard, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("loginguard: %w", capsign.BrokerUnreachable)
	}
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: capsign.TokensBucket, History: 1, Storage: jetstream.FileStorage, Replicas: replicas,
		LimitMarkerTTL: time.Minute, // lets a turn end by itself
	})
	if errors.Is(err, jetstream.ErrBucketExists) {
		kv, err = js.KeyValue(ctx, capsign.TokensBucket)
	}
	if err != nil {
		return nil, fmt.Errorf("loginguard: %w", capsign.QueueUnavailable)
	}
	return &Guard{kv: kv, pool: pool}, nil
}

// Login runs login, which tries a token's PIN once, when it is this worker's
// turn. It does not run it, and returns the code of the failure, where one
// stands against the token; and it does not run it where the broker cannot say.
// A login that ends with capsign.PINIncorrect or capsign.TokenLocked stands
// against the token from then on.
func (g *Guard) Login(ctx context.Context, token string, login func(context.Context) error) error {
	name := recordName(token)
	if err := g.takeTurn(ctx, name); err != nil {
		return err
	}
	err := g.standing(ctx, name)
	if err == nil {
		err = login(ctx)
		if isLatched(err) {
			if blocked := g.block(ctx, name, capsign.CodeOf(err)); blocked != nil {
				return err // the turn is not given back, but ends by itself
			}
		}
	}
	g.endTurn(ctx, name)
	return err
}

// Block records a failure that was met outside of Login.
func (g *Guard) Block(ctx context.Context, token string, code capsign.Code) error {
	return g.block(ctx, recordName(token), code)
}

// isLatched reports whether err is a failure that only an operator ends.
func isLatched(err error) bool {
	return err != nil && capsign.CodeOf(err).Fate() == capsign.FateLatched
}

// takeTurn waits until nobody else is logging in to the token.
func (g *Guard) takeTurn(ctx context.Context, name string) error {
	for {
		_, err := g.kv.Create(ctx, "turn."+name, nil, jetstream.KeyTTL(turnTime))
		if err == nil {
			return nil
		}
		if !errors.Is(err, jetstream.ErrKeyExists) {
			return fmt.Errorf("loginguard: take turn: %w", capsign.QueueUnavailable)
		}
		select {
		case <-time.After(pollTime):
		case <-ctx.Done():
			return fmt.Errorf("loginguard: take turn: %w", capsign.ProviderTimeout)
		}
	}
}

// endTurn lets the next worker log in. A turn that cannot be ended ends by
// itself.
func (g *Guard) endTurn(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	_ = g.kv.Purge(ctx, "turn."+name)
}

// standing returns the code of the failure that stands against the token, or
// nil where none does.
func (g *Guard) standing(ctx context.Context, name string) error {
	entry, err := g.kv.Get(ctx, "blocked."+name)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("loginguard: read: %w", capsign.QueueUnavailable)
	}
	blocked, err := capsign.DecodeBlockedToken(entry.Value())
	if err != nil {
		return fmt.Errorf("loginguard: record: %w", capsign.PINIncorrect) // whatever it says, it is not that all is well
	}
	return fmt.Errorf("loginguard: %w", blocked.Code)
}

// block records a failure, which stands even where the login's context has
// ended. It tries for as long as its turn lasts.
func (g *Guard) block(ctx context.Context, name string, code capsign.Code) error {
	record, err := capsign.BlockedToken{
		V: capsign.Version, Pool: g.pool, Code: code, Since: time.Now().UTC().Truncate(time.Second),
	}.Encode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	for {
		if _, err := g.kv.Put(ctx, "blocked."+name, record); err == nil {
			return nil
		}
		select {
		case <-time.After(pollTime):
		case <-ctx.Done():
			return fmt.Errorf("loginguard: record: %w", capsign.QueueUnavailable)
		}
	}
}

// recordName returns the token's name in the bucket, whose keys allow few
// characters.
func recordName(token string) string { return base64.RawURLEncoding.EncodeToString([]byte(token)) }
