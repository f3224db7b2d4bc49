package capsign

import (
	"fmt"
	"slices"
)

// Trust says whose keyrings a verifier believes before it has seen any.
type Trust struct {
	// Roots are the pinned roots' fingerprints, see [RootKey.Fingerprint]. With
	// none, no first keyring is believed.
	Roots []string
	// Threshold is how many of the pinned roots must have signed a first
	// keyring; 0 means 1.
	Threshold int
}

// SignedBy returns the fingerprints of those of roots that signed s, in their
// order. A signature by anybody else, and one that does not verify, counts for
// nothing and spoils nothing, since whoever carries an envelope can add such;
// a root that signed twice counts once.
func (s *SignedKeyring) SignedBy(roots Roots) []string {
	input := s.SigningInput()
	var signers []string
	for _, root := range roots.Keys {
		id := root.Fingerprint()
		if slices.ContainsFunc(s.signatures, func(r rootSignature) bool {
			return r.KeyID == id && root.Verify(input, r.Sig) == nil
		}) {
			signers = append(signers, id)
		}
	}
	return signers
}

// Missing returns how many more of roots must sign s; 0 when enough have.
func (s *SignedKeyring) Missing(roots Roots) int {
	return max(0, roots.Threshold-len(s.SignedBy(roots)))
}

// First checks a keyring that nothing is known to come before, of whatever
// version: as many of its own roots have signed it as it asks for, and among
// them as many of the pinned ones as t asks for. It wraps [KeyringUntrusted]
// otherwise.
func (t Trust) First(s *SignedKeyring) error {
	signers := s.SignedBy(s.keyring.Roots)
	strangers := slices.DeleteFunc(slices.Clone(signers), func(id string) bool { return slices.Contains(t.Roots, id) })
	pinned := len(signers) - len(strangers)
	if len(signers) < s.keyring.Roots.Threshold || pinned < max(1, t.Threshold) {
		return fmt.Errorf("capsign: keyring: %w", KeyringUntrusted)
	}
	return nil
}

// Succeeds checks that next is the keyring that comes right after held, which
// is trusted: enough of held's roots have signed it, and enough of its own. It
// wraps
//   - [KeyringReplayed] where next is older than held, or is held itself;
//   - [KeyringUntrusted] where too few roots have signed it;
//   - [KeyringFork] where enough have, but it does not continue held: another
//     keyring of the same version, one with another predecessor, one that
//     leaves out versions in between, or one issued before held was.
func Succeeds(held, next *SignedKeyring) error {
	old, k := held.keyring, next.keyring
	switch {
	case k.Version < old.Version || next.Hash() == held.Hash():
		return fmt.Errorf("capsign: keyring: %w", KeyringReplayed)
	case next.Missing(old.Roots) > 0 || next.Missing(k.Roots) > 0:
		return fmt.Errorf("capsign: keyring: %w", KeyringUntrusted)
	case k.Version != old.Version+1 || k.Previous != held.Hash() || k.Issued.Before(old.Issued):
		return fmt.Errorf("capsign: keyring: %w", KeyringFork)
	}
	return nil
}

// FollowChain returns the newest keyring of a chain, oldest first, once every
// step up to it has been checked. The steps begin at held, where there is one;
// with none, at the newest keyring that the pinned roots themselves vouch for.
// A chain that ends in held returns held. One bad step refuses the whole chain,
// with what [Succeeds] and [Trust.First] wrap; an empty one wraps
// [KeyringMissing].
func (t Trust) FollowChain(held *SignedKeyring, chain []*SignedKeyring) (*SignedKeyring, error) {
	if len(chain) == 0 {
		return nil, fmt.Errorf("capsign: keyring: %w", KeyringMissing)
	}
	if held == nil {
		start, err := t.firstOf(chain)
		if err != nil {
			return nil, err
		}
		held, chain = chain[start], chain[start:]
	}
	if chain[len(chain)-1].keyring.Version < held.keyring.Version {
		return nil, fmt.Errorf("capsign: keyring: %w", KeyringReplayed)
	}
	for _, next := range chain {
		if next.keyring.Version < held.keyring.Version || next.Hash() == held.Hash() {
			continue // known: held names its predecessors by their hashes
		}
		if err := Succeeds(held, next); err != nil {
			return nil, err
		}
		held = next
	}
	return held, nil
}

// firstOf returns the index of the newest keyring that the pins vouch for.
func (t Trust) firstOf(chain []*SignedKeyring) (int, error) {
	for i, s := range slices.Backward(chain) {
		if t.First(s) == nil {
			return i, nil
		}
	}
	return 0, fmt.Errorf("capsign: keyring: %w", KeyringUntrusted)
}
