package capsign

import (
	"fmt"
	"maps"
	"time"

	"github.com/go-json-experiment/json"
)

// PoolState says whether a pool takes requests.
type PoolState string

// The states of a pool.
const (
	PoolReady  PoolState = "ready"
	PoolPaused PoolState = "paused"
)

// Pool is what the workers of a pool last said of it, in [PoolsBucket] under
// its name. Clients read it to refuse at once what would otherwise wait.
type Pool struct {
	// V is the format's version, [Version].
	V int `json:"v"`
	// Name is the pool's name.
	Name string `json:"pool"`
	// Provider is the id of the provider its workers are bound to.
	Provider string `json:"provider"`
	// State is ready or paused.
	State PoolState `json:"state"`
	// Code says why the pool is paused; empty while it is ready.
	Code Code `json:"code,omitzero"`
	// Since is when State last changed, in UTC.
	Since time.Time `json:"since"`
	// Current maps each key name to the kid that signs for it now.
	Current map[string]string `json:"current"`
}

// Equal reports whether two records say the same.
func (p Pool) Equal(q Pool) bool {
	return p.V == q.V && p.Name == q.Name && p.Provider == q.Provider && p.State == q.State &&
		p.Code == q.Code && p.Since.Equal(q.Since) && maps.Equal(p.Current, q.Current)
}

// Encode returns the pool's record for [PoolsBucket].
func (p Pool) Encode() ([]byte, error) {
	data, err := json.Marshal(p, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("capsign: encode pool: %w", Internal)
	}
	return data, nil
}

// DecodePool decodes and checks a record of [PoolsBucket].
func DecodePool(data []byte) (Pool, error) {
	var p Pool
	if err := unmarshalStrict(data, &p); err != nil {
		return Pool{}, err
	}
	paused := p.State == PoolPaused
	switch {
	case p.V != Version:
		return Pool{}, fmt.Errorf("capsign: pool record: %w", UnsupportedVersion)
	case CheckToken(p.Name) != nil, paused != (p.Code != ""), paused && !p.Code.Known(), !paused && p.State != PoolReady:
		return Pool{}, fmt.Errorf("capsign: pool record: %w", BadRequest)
	}
	for name, kid := range p.Current {
		if CheckKeyName(name) != nil || !isKID(kid) {
			return Pool{}, fmt.Errorf("capsign: pool record: current key: %w", BadRequest)
		}
	}
	return p, nil
}
