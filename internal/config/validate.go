package config

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/capsign/cap/capsign"
)

// Validate checks c as [Parse] does, for a configuration that did not come from
// a file alone. An error is an [*Error].
func (c Config) Validate() error { return asError(c.faults()) }

// faults returns all that is wrong with c.
func (c Config) faults() []Fault {
	var rules rules
	rules.key(c.Key)
	rules.that("pool", capsign.CheckToken(c.Pool) == nil, `must be 1 to 32 characters out of A-Z, a-z, 0-9, "_" and "-"`)
	rules.that("purpose", c.Purpose == "" || c.Purpose == "root", "must be root, or left out")
	rules.path("data", c.Data)
	rules.that("data", c.Data != "", "must not be empty")
	rules.nats(c.NATS)
	rules.queue(c.Queue)
	rules.keyring(c.Keyring)
	rules.oneOf("log.format", c.Log.Format, "text", "json")
	return rules.faults
}

// rules collects the faults of values.
type rules struct{ faults []Fault }

// that notes problem at key unless ok.
func (r *rules) that(key string, ok bool, problem string) {
	if !ok {
		r.faults = append(r.faults, Fault{Key: key, Problem: problem})
	}
}

// oneOf requires one of a few values.
func (r *rules) oneOf(key, value string, allowed ...string) {
	r.that(key, slices.Contains(allowed, value), "must be one of "+strings.Join(allowed, ", "))
}

// path requires a path that a file can have, if any.
func (r *rules) path(key, path string) {
	r.that(key, !strings.ContainsRune(path, 0), "must be a path")
}

// queue checks the queue section.
func (r *rules) queue(q Queue) {
	const gib = 1 << 30
	between(r, "queue.parallelism", q.Parallelism, 0, 4096, "0", "4096")
	between(r, "queue.max_rate", q.MaxRate, 0, 1_000_000, "0", "1000000")
	between(r, "queue.prefetch", q.Prefetch, 0, 65536, "0", "65536")
	between(r, "queue.express_ack_wait", q.ExpressAckWait, 100*time.Millisecond, 10*time.Minute, "100ms", "10m")
	between(r, "queue.bulk_ack_wait", q.BulkAckWait, 100*time.Millisecond, 10*time.Minute, "100ms", "10m")
	between(r, "queue.max_deliveries", q.MaxDeliveries, 1, 1000, "1", "1000")
	between(r, "queue.result_keep", q.ResultKeep, time.Minute, 366*24*time.Hour, "1m", "8784h")
	between(r, "queue.jobs_max_bytes", q.JobsMaxBytes, 4<<20, 64<<10*gib, "4MiB", "64TiB")
	between(r, "queue.results_max_bytes", q.ResultsMaxBytes, 4<<20, 64<<10*gib, "4MiB", "64TiB")
	between(r, "queue.replicas", q.Replicas, 1, 5, "1", "5")
}

// fingerprintForm is a root key's fingerprint.
var fingerprintForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// keyring checks the keyring section.
func (r *rules) keyring(k Keyring) {
	for i, root := range k.Roots {
		r.that("keyring.roots", fingerprintForm.MatchString(root), "each must be 64 hexadecimal digits: cap keyring init prints them")
		r.that("keyring.roots", !slices.Contains(k.Roots[:i], root), "names a root twice")
	}
	between(r, "keyring.threshold", k.Threshold, 1, max(1, len(k.Roots)), "1", "the number of roots")
	between(r, "keyring.max_stale", k.MaxStale, 5*time.Second, time.Hour, "5s", "1h")
}

// between requires least ≤ value ≤ most; from and to are how a person writes
// the two.
func between[T int | int64 | time.Duration](r *rules, key string, value, least, most T, from, to string) {
	r.that(key, least <= value && value <= most, "must be from "+from+" to "+to)
}
