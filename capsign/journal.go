package capsign

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"time"
)

// Journal remembers what a [Run] has asked for, in a file as a rule, so that the
// run can be taken up again in another process. A Run calls it from one
// goroutine at a time.
type Journal interface {
	// Append keeps an entry for good: it returns nil once neither the end of the
	// process nor that of the machine can undo it. The entry's request is
	// published after that and not at all where Append fails.
	Append(Entry) error
	// Entries yields what was kept, in the order in which it was.
	Entries() iter.Seq2[Entry, error]
}

// Entry is what a [Journal] remembers of one request: all that it takes to send
// it again, byte for byte, out of the same items.
type Entry struct {
	// N is the request's number, the end of its id.
	N uint64 `json:"n"`
	// Expires is the instant after which nobody signs it.
	Expires time.Time `json:"exp"`
	// KID is the key version that it asks for; empty means the active one.
	KID string `json:"kid,omitzero"`
	// First is the index, among all items of the run, of the first item that
	// Digests is about.
	First int `json:"first"`
	// Digests holds the SHA-256 of each item's message from First on, and nil for
	// an item that is not part of the request.
	Digests [][]byte `json:"digests"`
	// BodySHA256 is the hex SHA-256 of the request's body.
	BodySHA256 string `json:"body_sha256"`
}

// Check refuses an entry that no Run has made.
func (e *Entry) Check() error {
	sum, err := hex.DecodeString(e.BodySHA256)
	switch {
	case e.N == 0 || e.First < 0 || e.Expires.IsZero() || e.KID != "" && !isKID(e.KID),
		err != nil || len(sum) != sha256.Size,
		len(e.Digests) == 0 || len(e.Digests) > MaxItems || len(e.positions()) == 0:
		return fmt.Errorf("capsign: journal entry: %w", BadRequest)
	}
	for _, digest := range e.Digests {
		if len(digest) != 0 && len(digest) != sha256.Size {
			return fmt.Errorf("capsign: journal entry: %w", BadRequest)
		}
	}
	return nil
}

// end returns the index behind the last item that the entry is about.
func (e *Entry) end() int { return e.First + len(e.Digests) }

// positions returns where in Digests the items of the request are, in their
// order in it.
func (e *Entry) positions() []int {
	var at []int
	for i, digest := range e.Digests {
		if len(digest) > 0 {
			at = append(at, i)
		}
	}
	return at
}
