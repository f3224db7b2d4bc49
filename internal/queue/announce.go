package queue

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

// announce publishes what clients and verifiers read: each key version under
// its kid, and the pool's state. What stands there already is left alone.
func announce(ctx context.Context, js jetstream.JetStream, cfg Config) error {
	current, err := cfg.Signer.CurrentKID(ctx)
	if err != nil {
		return err
	}
	pool := capsign.Pool{
		V: capsign.Version, Name: cfg.Pool, Provider: cfg.Provider,
		State: capsign.PoolReady, Since: time.Now().UTC().Truncate(time.Second),
		Current: make(map[string]string),
	}
	for _, key := range cfg.Keys {
		key.Pool, key.State = cfg.Pool, capsign.Accepted
		if key.KID == current {
			key.State = capsign.Active
			pool.Current[key.Name] = key.KID
		}
		if err := putRecord(ctx, js, capsign.KeysBucket, key.KID, key); err != nil {
			return err
		}
	}
	return putRecord(ctx, js, capsign.PoolsBucket, pool.Name, pool)
}

// putRecord writes a record unless the bucket holds the same bytes.
func putRecord(ctx context.Context, js jetstream.JetStream, bucket, name string, record interface{ Encode() ([]byte, error) }) error {
	data, err := record.Encode()
	if err != nil {
		return err
	}
	kv, err := js.KeyValue(ctx, bucket)
	if err != nil {
		return fmt.Errorf("announce: %w", streamCode(err))
	}
	if entry, err := kv.Get(ctx, name); err == nil && bytes.Equal(entry.Value(), data) {
		return nil
	}
	if _, err := kv.Put(ctx, name, data); err != nil {
		return fmt.Errorf("announce: %w", streamCode(err))
	}
	return nil
}
