package capsign

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
)

// AdminVerb is something that only a worker can do for an operator.
type AdminVerb string

// What a worker can be asked to do.
const (
	AdminGenerate AdminVerb = "generate" // make a further version of the pool's key
	AdminCheck    AdminVerb = "check"    // sign a canary with every key version
)

// AdminSubject returns the subject on which one of the pool's workers does what
// verb says. The broker's permissions on it decide who may ask.
func AdminSubject(pool string, verb AdminVerb) string {
	return "cap.admin." + pool + "." + string(verb)
}

// AdminReply is a worker's answer to an [AdminVerb].
type AdminReply struct {
	// V is the format's version, [Version].
	V int `json:"v"`
	// Code says why it was not done; empty where it was.
	Code Code `json:"code,omitzero"`
	// KID is the kid of the version that generate made.
	KID string `json:"kid,omitzero"`
	// Checks are check's findings, one per key version.
	Checks []KeyCheck `json:"checks,omitzero"`
}

// KeyCheck is what became of a canary: a message that only says what it is, made
// up by the worker, signed and verified.
type KeyCheck struct {
	// KID names the key version.
	KID string `json:"kid"`
	// Code says why it did not sign; empty where it did.
	Code Code `json:"code,omitzero"`
	// Seconds is how long signing took.
	Seconds float64 `json:"seconds"`
}

// GenerateKey has a worker of the pool make a further version of its key in its
// backend and returns the new kid. It wraps [Denied] where the worker's
// configuration does not allow that, the pool's code where the pool is paused,
// and [NoWorker] where nobody is there to ask. After [ResultTimeout] it is not
// known whether a version was made: list the keys.
func GenerateKey(ctx context.Context, nc *nats.Conn, pool string) (kid string, err error) {
	reply, err := askWorker(ctx, nc, pool, AdminGenerate)
	if err != nil {
		return "", err
	}
	if !isKID(reply.KID) {
		return "", fmt.Errorf("capsign: generate: answer without a kid: %w", Integrity)
	}
	return reply.KID, nil
}

// CheckKeys has a worker of the pool sign a canary with every key version. Its
// errors are those of [GenerateKey]; a version that does not sign is none.
func CheckKeys(ctx context.Context, nc *nats.Conn, pool string) ([]KeyCheck, error) {
	reply, err := askWorker(ctx, nc, pool, AdminCheck)
	if err != nil {
		return nil, err
	}
	return reply.Checks, nil
}

// askWorker sends an admin request to one of the pool's workers and waits for
// the answer until ctx ends.
func askWorker(ctx context.Context, nc *nats.Conn, pool string, verb AdminVerb) (AdminReply, error) {
	msg, err := nc.RequestWithContext(ctx, AdminSubject(pool, verb), nil)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return AdminReply{}, fmt.Errorf("capsign: %s: %w", verb, absence(ctx, nc, pool))
	case err != nil && ctx.Err() != nil:
		return AdminReply{}, fmt.Errorf("capsign: %s: %w", verb, ResultTimeout)
	case err != nil:
		return AdminReply{}, fmt.Errorf("capsign: %s: %w", verb, BrokerUnreachable)
	}
	var reply AdminReply
	if err := unmarshalStrict(msg.Data, &reply); err != nil || reply.V != Version {
		return AdminReply{}, fmt.Errorf("capsign: %s: answer: %w", verb, Integrity)
	}
	if reply.Code != "" {
		return AdminReply{}, fmt.Errorf("capsign: %s: %w", verb, CodeOf(reply.Code))
	}
	return reply, nil
}

// absence says why no worker of the pool answers: what stopped the last one, if
// it left word.
func absence(ctx context.Context, nc *nats.Conn, pool string) error {
	pools, err := FetchPools(ctx, nc)
	if err != nil {
		return err
	}
	record, known := pools[pool]
	switch {
	case !known:
		return PoolUnknown
	case record.State == PoolPaused:
		return record.Code
	}
	return NoWorker
}

// Encode returns the answer's JSON.
func (r AdminReply) Encode() ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("capsign: encode answer: %w", Internal)
	}
	return data, nil
}
