package queue

import (
	"context"
	"maps"
	"sync"

	"github.com/capsign/cap/capsign"
)

// Versions is a provider whose key versions can grow in number.
type Versions interface {
	// Generate makes a further key version in the backend and returns its kid.
	Generate(ctx context.Context) (kid string, err error)
	// Reload looks for versions that others have made.
	Reload(ctx context.Context) error
	// ListKIDs and PublicKey tell what there is then.
	ListKIDs(ctx context.Context) ([]string, error)
	PublicKey(ctx context.Context, kid string) (capsign.Key, error)
}

// keySet is the key versions that the worker signs with.
type keySet struct {
	mu   sync.RWMutex
	keys map[string]capsign.Key // by kid
}

// newKeySet returns a set of the given keys.
func newKeySet(keys []capsign.Key) *keySet {
	s := &keySet{keys: make(map[string]capsign.Key, len(keys))}
	for _, key := range keys {
		s.keys[key.KID] = key
	}
	return s
}

// get returns the key version that kid names.
func (s *keySet) get(kid string) (capsign.Key, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	key, known := s.keys[kid]
	return key, known
}

// named reports whether any key version is of the key of this name.
func (s *keySet) named(name string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, key := range s.keys {
		if key.Name == name {
			return true
		}
	}
	return false
}

// add enters a key version.
func (s *keySet) add(key capsign.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[key.KID] = key
}

// all returns a copy of the set, by kid.
func (s *keySet) all() map[string]capsign.Key {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.keys)
}
