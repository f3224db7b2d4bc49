package rotation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

// Store is the keyrings on a broker, in the bucket capsign.KeyringBucket.
// Whoever may write to the broker may write there, so nothing that comes out of
// it is believed before its signatures are.
type Store struct {
	kv jetstream.KeyValue
}

// OpenStore opens the store, which it makes, with so many replicas, where it is
// missing. Errors wrap one capsign.Code.
func OpenStore(ctx context.Context, nc *nats.Conn, replicas int) (*Store, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("rotation: open store: %w", capsign.BrokerUnreachable)
	}
	kv, err := js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: capsign.KeyringBucket, History: 8, Storage: jetstream.FileStorage, Replicas: max(1, replicas),
	})
	if errors.Is(err, jetstream.ErrBucketExists) {
		kv, err = js.KeyValue(ctx, capsign.KeyringBucket)
	}
	if err != nil {
		return nil, fmt.Errorf("rotation: open store: %w", brokerCode(err))
	}
	return &Store{kv}, nil
}

// openExisting opens the store, or wraps capsign.KeyringMissing where nobody has
// made one.
func openExisting(ctx context.Context, nc *nats.Conn) (*Store, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("rotation: open store: %w", capsign.BrokerUnreachable)
	}
	kv, err := js.KeyValue(ctx, capsign.KeyringBucket)
	if err != nil {
		return nil, fmt.Errorf("rotation: open store: %w", brokerCode(err))
	}
	return &Store{kv}, nil
}

// Chain returns every keyring in the store that decodes, by version. Whether to
// believe any is for capsign.Trust to say; what does not decode, or says another
// version than its name, is left out.
func (s *Store) Chain(ctx context.Context) ([]*capsign.SignedKeyring, error) {
	watcher, err := s.kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("rotation: read store: %w", brokerCode(err))
	}
	defer watcher.Stop() //nolint:errcheck // the subscription is done with
	var chain []*capsign.SignedKeyring
	for {
		select {
		case entry, open := <-watcher.Updates():
			if !open {
				return nil, fmt.Errorf("rotation: read store: %w", capsign.BrokerUnreachable)
			}
			if entry == nil { // what comes after is news
				slices.SortFunc(chain, func(a, b *capsign.SignedKeyring) int {
					return cmp.Compare(a.Keyring().Version, b.Keyring().Version)
				})
				return chain, nil
			}
			if signed, ok := decode(entry); ok {
				chain = append(chain, signed)
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("rotation: read store: %w", capsign.BrokerUnreachable)
		}
	}
}

// Publish puts a keyring into the store under its version. A version is written
// once, which is what keeps two operators apart: where another keyring of the
// same roots stands there, it wraps capsign.KeyringFork. Anything else that
// stands there, by whomever, is written over. Publishing again what stands there
// does nothing.
func (s *Store) Publish(ctx context.Context, next *capsign.SignedKeyring) error {
	data, err := next.Encode()
	if err != nil {
		return err
	}
	name := entryName(next.Keyring().Version)
	for {
		_, err := s.kv.Create(ctx, name, data)
		if err == nil || !errors.Is(err, jetstream.ErrKeyExists) {
			return publishError(err)
		}
		entry, err := s.kv.Get(ctx, name)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue // deleted in between
		}
		if err != nil {
			return publishError(err)
		}
		if signed, ok := decode(entry); ok && signed.Missing(next.Keyring().Roots) == 0 {
			if signed.Hash() == next.Hash() {
				return nil
			}
			return fmt.Errorf("rotation: publish: %w", capsign.KeyringFork)
		}
		_, err = s.kv.Update(ctx, name, data, entry.Revision())
		if err == nil || !errors.Is(err, jetstream.ErrKeyExists) {
			return publishError(err)
		}
	}
}

// publishError returns the error of a publication that the broker answered with
// err.
func publishError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("rotation: publish: %w", brokerCode(err))
}

// decode returns the keyring in an entry, if it is one of the version that the
// entry's name says.
func decode(entry jetstream.KeyValueEntry) (*capsign.SignedKeyring, bool) {
	signed, err := capsign.ParseSignedKeyring(entry.Value())
	if err != nil || entry.Key() != entryName(signed.Keyring().Version) {
		return nil, false
	}
	return signed, true
}

// entryName returns the name of a version's entry.
func entryName(version uint64) string { return "keyring.v" + strconv.FormatUint(version, 10) }

// brokerCode maps an error of the NATS client's to a code.
func brokerCode(err error) capsign.Code {
	switch {
	case errors.Is(err, nats.ErrPermissionViolation), errors.Is(err, nats.ErrAuthorization):
		return capsign.Denied
	case errors.Is(err, jetstream.ErrBucketNotFound):
		return capsign.KeyringMissing
	}
	return capsign.BrokerUnreachable
}
