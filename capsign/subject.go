package capsign

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// Lane is a priority inside a pool.
type Lane string

// The lanes of a pool.
const (
	Express Lane = "express" // one-offs: somebody waits
	Bulk    Lane = "bulk"    // pipelines
)

// Names that workers and clients share on the broker.
const (
	// TenantLocal is the tenant where all publishers share one NATS account.
	TenantLocal = "local"
	// ResultsStream keeps every result, one per request id.
	ResultsStream = "CAP_RESULTS"
	// RunsStream keeps the lists of runs that were left to the workers.
	RunsStream = "CAP_RUNS"
	// KeysBucket is the KV bucket of public keys; its keys are kids.
	KeysBucket = "CAP_KEYS"
	// PoolsBucket is the KV bucket of pool states; its keys are pool names.
	PoolsBucket = "CAP_POOLS"
	// KeyringBucket is the KV bucket of keyrings; its keys are keyring.v1,
	// keyring.v2 and so on.
	KeyringBucket = "CAP_KEYRING"
	// TokensBucket is the KV bucket of workers' logins to PKCS#11 tokens: who
	// tries one now, and which token may not be tried again.
	TokensBucket = "CAP_TOKENS"
)

// HeaderAgain marks the publication of a request that may have been published
// before: a worker then looks for its result before it signs anything. It is no
// part of what is signed or believed, and its value does not matter.
const HeaderAgain = "Cap-Again"

// JobsStream returns the name of a pool's jobs stream.
func JobsStream(pool string) string { return "CAP_JOBS_" + pool }

// JobSubject returns the subject that a request is published on. The broker's
// permissions on it decide who may ask for which key.
func JobSubject(tenant, pool string, lane Lane, key string) string {
	return "cap.job." + tenant + "." + pool + "." + string(lane) + "." + KeyToken(key)
}

// Job is what a job subject says of the request on it.
type Job struct {
	Tenant, Pool string
	Lane         Lane
	Key          string
}

// ParseJobSubject takes apart a subject made by [JobSubject].
func ParseJobSubject(subject string) (Job, error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 6 || tokens[0] != "cap" || tokens[1] != "job" {
		return Job{}, fmt.Errorf("capsign: job subject: %w", BadRequest)
	}
	key, err := parseKeyToken(tokens[5])
	if err != nil {
		return Job{}, err
	}
	return Job{Tenant: tokens[2], Pool: tokens[3], Lane: Lane(tokens[4]), Key: key}, nil
}

// StoreSubject returns the write-once subject that a worker stores a request's
// result on. Only workers publish there.
func StoreSubject(tenant, requestID string) string {
	return "cap.store." + tenant + "." + requestID
}

// ResultSubject returns the subject on which the results stream repeats what
// it has stored. Only the stream publishes there. A requestID of "<client>.*"
// makes it the one subject a client subscribes to.
func ResultSubject(tenant, requestID string) string {
	return "cap.result." + tenant + "." + requestID
}

// runAbout ends the subject of what there is to say of a run as a whole.
const runAbout = "about"

// RunSubject returns the subject of a document about a run that was left to the
// workers: "about" for a [RunInfo], or the index of its first item for a
// [RunPart].
func RunSubject(tenant, id, name string) string {
	return "cap.run." + tenant + "." + id + "." + name
}

// CheckToken refuses a tenant or pool name that is not 1 to 32 characters out
// of A-Z, a-z, 0-9, "_" and "-".
func CheckToken(name string) error {
	if len(name) == 0 || len(name) > 32 || !isToken(name) {
		return fmt.Errorf("capsign: name: %w", BadRequest)
	}
	return nil
}

// isToken reports whether s holds only characters that mean nothing to NATS.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return s != ""
}

// KeyToken returns a key name as one subject token: the name itself where it
// has only characters out of A-Z, a-z, 0-9, "_" and "-", otherwise "=" and the
// name's base64url.
func KeyToken(name string) string {
	if isToken(name) {
		return name
	}
	return "=" + base64.RawURLEncoding.EncodeToString([]byte(name))
}

// parseKeyToken is KeyToken's inverse; it accepts no second spelling of a name.
func parseKeyToken(token string) (string, error) {
	name := token
	if encoded, ok := strings.CutPrefix(token, "="); ok {
		raw, err := base64.RawURLEncoding.DecodeString(encoded)
		if err != nil {
			return "", fmt.Errorf("capsign: key token: %w", BadRequest)
		}
		name = string(raw)
	}
	if CheckKeyName(name) != nil || KeyToken(name) != token {
		return "", fmt.Errorf("capsign: key token: %w", BadRequest)
	}
	return name, nil
}
