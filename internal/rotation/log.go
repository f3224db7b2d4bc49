package rotation

import (
	"slices"
	"time"

	"github.com/capsign/cap/capsign"
)

// Entry is one change in a keyring's history.
type Entry struct {
	// Version is the keyring's version and Hash its hash.
	Version uint64 `json:"version"`
	Hash    string `json:"hash"`
	// Issued is when the change was made, Expires until when it held or holds.
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	// Action is one of capsign's Action constants, Reason the operator's own.
	Action string `json:"action"`
	Reason string `json:"reason"`
	// Roots are the fingerprints of those who signed: the roots of the version
	// before first.
	Roots []string `json:"roots"`
}

// Log returns a chain's history, oldest first, and verifies it: the first
// keyring by its own roots, each further one by [capsign.Succeeds]. Whether the
// first one's roots are to be believed is for [capsign.Trust] to say. An empty
// chain has no history.
func Log(chain []*capsign.SignedKeyring) ([]Entry, error) {
	var entries []Entry
	for i, s := range chain {
		before, err := s, selfSigned(s)
		if i > 0 {
			before, err = chain[i-1], capsign.Succeeds(chain[i-1], s)
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, entryOf(before, s))
	}
	return entries, nil
}

// selfSigned checks that enough of its own roots have signed s.
func selfSigned(s *capsign.SignedKeyring) error {
	own := capsign.Trust{Roots: s.Keyring().Roots.Fingerprints()}
	return own.First(s)
}

// entryOf describes s, which comes after before.
func entryOf(before, s *capsign.SignedKeyring) Entry {
	k := s.Keyring()
	signers := s.SignedBy(before.Keyring().Roots)
	for _, id := range s.SignedBy(k.Roots) {
		if !slices.Contains(signers, id) {
			signers = append(signers, id)
		}
	}
	return Entry{k.Version, s.Hash(), k.Issued, k.Expires, k.Action, k.Reason, signers}
}
