package capsign

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// BlockedToken is a record of [TokensBucket]: a PKCS#11 token that nobody logs
// in to before an operator has resumed the pool. Nothing in it comes from the
// PIN.
type BlockedToken struct {
	// V is the format's version, [Version].
	V int `json:"v"`
	// Pool is the pool whose worker met the failure.
	Pool string `json:"pool"`
	// Code is pin_incorrect or token_locked.
	Code Code `json:"code"`
	// Since is when that was, in UTC.
	Since time.Time `json:"since"`
}

// Encode returns the record for [TokensBucket].
func (b BlockedToken) Encode() ([]byte, error) {
	data, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("capsign: encode token: %w", Internal)
	}
	return data, nil
}

// DecodeBlockedToken decodes and checks a record of [TokensBucket].
func DecodeBlockedToken(data []byte) (BlockedToken, error) {
	var b BlockedToken
	if err := unmarshalStrict(data, &b); err != nil {
		return BlockedToken{}, err
	}
	if b.V != Version || CheckToken(b.Pool) != nil || b.Code.Fate() != FateLatched {
		return BlockedToken{}, fmt.Errorf("capsign: token record: %w", BadRequest)
	}
	return b, nil
}

// PausePool stops a pool until [ResumePool]: its workers take no further
// requests, and clients are refused with [PausedByOperator]. A pool that waits
// for an operator for another reason keeps that. It returns the pool as it then
// stands.
func PausePool(ctx context.Context, nc *nats.Conn, name string) (Pool, error) {
	pool, err := UpdatePool(ctx, nc, name, func(p *Pool) bool {
		if p.Name == "" || p.Code.Fate() == FateLatched {
			return false
		}
		p.State, p.Code = PoolPaused, PausedByOperator
		return true
	})
	if err != nil {
		return Pool{}, fmt.Errorf("capsign: pause pool: %w", err)
	}
	return pool.known()
}

// ResumePool starts a pool again, whatever stopped it: tokens that it blocked
// may be logged in to once more, and its running workers take requests again.
// Workers that have ended must be started. It returns the pool as it then
// stands.
func ResumePool(ctx context.Context, nc *nats.Conn, name string) (Pool, error) {
	if err := unblockTokens(ctx, nc, name); err != nil {
		return Pool{}, fmt.Errorf("capsign: resume pool: %w", err)
	}
	pool, err := UpdatePool(ctx, nc, name, func(p *Pool) bool {
		if p.Name == "" || p.State == PoolReady {
			return false
		}
		p.State, p.Code = PoolReady, ""
		return true
	})
	if err != nil {
		return Pool{}, fmt.Errorf("capsign: resume pool: %w", err)
	}
	return pool.known()
}

// known returns p, or [PoolUnknown] where it has no record.
func (p Pool) known() (Pool, error) {
	if p.Name == "" {
		return Pool{}, fmt.Errorf("capsign: pool: %w", PoolUnknown)
	}
	return p, nil
}

// UpdatePool changes a pool's record by change, which gets the zero Pool where
// there is none and reports whether to write it. Where somebody else writes in
// between, change is called again with what they wrote. A changed State gets
// the present time as its Since. It returns the record as it then stands.
func UpdatePool(ctx context.Context, nc *nats.Conn, name string, change func(*Pool) bool) (Pool, error) {
	kv, err := bucket(ctx, nc, PoolsBucket)
	if err != nil {
		return Pool{}, err
	}
	for {
		pool, revision, err := readPool(ctx, kv, name)
		if err != nil {
			return Pool{}, err
		}
		before := pool
		if !change(&pool) {
			return pool, nil
		}
		if pool.State != before.State || pool.Code != before.Code {
			pool.Since = time.Now().UTC().Truncate(time.Second)
		}
		data, err := pool.Encode()
		if err != nil {
			return Pool{}, err
		}
		if _, err = kv.Update(ctx, name, data, revision); err == nil {
			return pool, nil
		}
		if !errors.Is(err, jetstream.ErrKeyExists) {
			return Pool{}, brokerFault(err)
		}
	}
}

// readPool returns a pool's record and its revision, or zero values where there
// is none. What is there but is no pool's record is written over.
func readPool(ctx context.Context, kv jetstream.KeyValue, name string) (Pool, uint64, error) {
	entry, err := kv.Get(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return Pool{}, 0, nil
	case errors.Is(err, jetstream.ErrInvalidKey):
		return Pool{}, 0, BadRequest
	case err != nil:
		return Pool{}, 0, brokerFault(err)
	}
	if pool, err := DecodePool(entry.Value()); err == nil && pool.Name == name {
		return pool, entry.Revision(), nil
	}
	return Pool{}, entry.Revision(), nil
}

// unblockTokens removes the blocks that a pool's workers have left.
func unblockTokens(ctx context.Context, nc *nats.Conn, pool string) error {
	records, err := readBucket(ctx, nc, TokensBucket)
	if errors.Is(err, PoolUnknown) {
		return nil // no worker has used a token yet
	}
	if err != nil {
		return err
	}
	kv, err := bucket(ctx, nc, TokensBucket)
	if err != nil {
		return err
	}
	for _, record := range records {
		if blocked, err := DecodeBlockedToken(record.value); err != nil || blocked.Pool != pool {
			continue // a login that is being tried, or another pool's
		}
		if err := kv.Purge(ctx, record.name); err != nil {
			return brokerFault(err)
		}
	}
	return nil
}

// bucket opens a KV bucket.
func bucket(ctx context.Context, nc *nats.Conn, name string) (jetstream.KeyValue, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, BrokerUnreachable
	}
	return ask(ctx, func(ctx context.Context) (jetstream.KeyValue, error) {
		kv, err := js.KeyValue(ctx, name)
		if err != nil {
			return nil, brokerFault(err)
		}
		return kv, nil
	})
}
