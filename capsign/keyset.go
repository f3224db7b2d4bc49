package capsign

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// KeySet is a set of key versions to verify with. Its keys vouch for
// themselves, each kid being recomputed from its public key, so a KeySet may
// come from a broker or a file that nobody needs to trust; it does not say
// whether a key has been retired. The zero value is empty.
type KeySet struct {
	keys []Key
}

// NewKeySet returns a key set of the given keys.
func NewKeySet(keys ...Key) *KeySet { return &KeySet{keys: keys} }

// FetchKeySet reads all public keys from the broker's [KeysBucket]. Records
// that do not hold what their kid says are left out. No worker needs to run.
// Errors wrap [PoolUnknown] where no worker has ever published a key, or
// [BrokerUnreachable].
func FetchKeySet(ctx context.Context, nc *nats.Conn) (*KeySet, error) {
	records, err := readBucket(ctx, nc, KeysBucket)
	if err != nil {
		return nil, fmt.Errorf("capsign: fetch keys: %w", err)
	}
	ring := new(KeySet)
	for _, record := range records {
		if key, err := DecodeKey(record.value); err == nil && key.KID == record.name {
			ring.keys = append(ring.keys, key)
		}
	}
	return ring, nil
}

// Keys returns the set's keys.
func (r *KeySet) Keys() []Key { return r.keys }

// Key returns the key version that goes by id: its kid, its SPKI SHA-256 in hex
// or its JWK thumbprint. It wraps [KIDUnknown] where there is none, and
// [Ambiguous] where a fingerprint is that of several kids.
func (r *KeySet) Key(id string) (Key, error) {
	var found []Key
	for _, key := range r.keys {
		if key.goesBy(id) {
			found = append(found, key)
		}
	}
	switch len(found) {
	case 0:
		return Key{}, fmt.Errorf("capsign: key: %w", KIDUnknown)
	case 1:
		return found[0], nil
	}
	choices := make([]string, len(found))
	for i, key := range found {
		choices[i] = key.KID
	}
	return Key{}, &AmbiguousError{What: "kid", Choices: choices}
}

// Verify checks that sig is the signature of msg by the key version that goes
// by id. It wraps [KIDUnknown] or [SignatureInvalid] where it is not.
func (r *KeySet) Verify(id string, msg, sig []byte) error {
	key, err := r.Key(id)
	if err != nil {
		return err
	}
	return key.Verify(msg, sig)
}

// AmbiguousError says that more than one pool, key or kid fits, and which. It
// wraps [Ambiguous].
type AmbiguousError struct {
	// What is missing: "pool", "key" or "kid".
	What string
	// Choices lists what fits.
	Choices []string
}

// Error names what is missing.
func (e *AmbiguousError) Error() string { return "capsign: which " + e.What + ": " + string(Ambiguous) }

// Unwrap returns [Ambiguous].
func (e *AmbiguousError) Unwrap() error { return Ambiguous }

// bucketRecord is one entry of a KV bucket.
type bucketRecord struct {
	name  string
	value []byte
}

// listTries is how often a bucket is listed at most that is written to meanwhile.
const listTries = 3

// readBucket returns the present entries of a KV bucket. An entry that is written
// anew while the bucket is listed may be missing from the list, in its old place
// and in its new one: then the bucket is listed again.
func readBucket(ctx context.Context, nc *nats.Conn, name string) ([]bucketRecord, error) {
	return ask(ctx, func(ctx context.Context) ([]bucketRecord, error) {
		kv, err := bucket(ctx, nc, name)
		if err != nil {
			return nil, err
		}
		for try := 1; ; try++ {
			before, err := lastWrite(ctx, kv)
			if err != nil {
				return nil, err
			}
			records, err := listBucket(ctx, kv)
			if err != nil {
				return nil, err
			}
			after, err := lastWrite(ctx, kv)
			if err != nil {
				return nil, err
			}
			if after == before || try == listTries {
				return records, nil
			}
		}
	})
}

// lastWrite returns the number of the last write to a bucket.
func lastWrite(ctx context.Context, kv jetstream.KeyValue) (uint64, error) {
	status, err := kv.Status(ctx)
	if err != nil {
		return 0, brokerFault(err)
	}
	stream, ok := status.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return 0, Internal
	}
	return stream.StreamInfo().State.LastSeq, nil
}

// listBucket returns the entries of a bucket.
func listBucket(ctx context.Context, kv jetstream.KeyValue) ([]bucketRecord, error) {
	watcher, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, brokerFault(err)
	}
	defer watcher.Stop() //nolint:errcheck // the subscription is done with, nothing is lost
	return presentRecords(ctx, watcher)
}

// firstAnswer is how long the broker may take to answer a question before it is
// asked again; each further time it may take twice as long.
const firstAnswer = time.Second

// ask asks the broker something, and again where it gives no answer or says that
// it is not ready: servers of a cluster do either while they elect who leads. It
// ends with ctx, or, where that has no deadline, with the third question.
func ask[T any](ctx context.Context, question func(context.Context) (T, error)) (T, error) {
	_, bounded := ctx.Deadline()
	for tries := 1; ; tries++ {
		once, cancel := context.WithTimeout(ctx, firstAnswer<<min(tries-1, 5))
		answer, err := question(once)
		again := err != nil && (once.Err() != nil || errors.Is(err, errUnready)) && (bounded || tries < 3)
		if again {
			<-once.Done()
		}
		cancel()
		if !again || ctx.Err() != nil {
			return answer, err
		}
	}
}

// presentRecords takes from a fresh watch what the bucket holds now.
func presentRecords(ctx context.Context, watcher jetstream.KeyWatcher) ([]bucketRecord, error) {
	var records []bucketRecord
	for {
		select {
		case entry, open := <-watcher.Updates():
			if !open {
				return nil, BrokerUnreachable
			}
			if entry == nil { // what comes after is news
				return records, nil
			}
			records = append(records, bucketRecord{entry.Key(), entry.Value()})
		case <-ctx.Done():
			return nil, BrokerUnreachable
		}
	}
}

// errUnready means that the broker may answer the next time.
var errUnready = fmt.Errorf("not ready: %w", BrokerUnreachable)

// brokerFault maps an error of the NATS client's to one that wraps a Code.
func brokerFault(err error) error {
	switch {
	case errors.Is(err, jetstream.ErrBucketNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return PoolUnknown
	case errors.Is(err, nats.ErrPermissionViolation), errors.Is(err, nats.ErrAuthorization):
		return Denied
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrNoResponders),
		errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return BrokerUnreachable
	}
	return errUnready
}
