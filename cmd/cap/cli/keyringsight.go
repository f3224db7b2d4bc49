package cli

import (
	"context"
	"errors"
	"slices"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// sighting is the keyring in force as far as it can be told, and what came
// before it.
type sighting struct {
	belief
	// pinned says whether a root was pinned before; else the keyring's own roots
	// were believed.
	pinned bool
	// history are the keyrings up to Signed, oldest first, each the one that the
	// next one names. It may begin late.
	history []*capsign.SignedKeyring
}

// sight returns the keyring in force on the broker or, with file, in an exported
// chain. Where no root is pinned it takes the word of whoever signed, and says
// so: that is good enough to look at, not to verify by.
func (a *app) sight(ctx context.Context, file input) (sighting, error) {
	b, err := a.belief()
	if err != nil {
		return sighting{}, err
	}
	s := sighting{belief: b, pinned: b.Pinned()}
	chain, err := a.readChain(ctx, file)
	if err != nil && (file.path != "" || !errors.Is(err, capsign.KeyringMissing)) {
		return s, err
	}
	if !s.pinned {
		s.belief = belief{Mark: rotation.Mark{Trust: ownTrust(chain)}}
	}
	if file.path != "" {
		s.belief, err = s.follow(chain)
	} else {
		s.belief, err = s.advance(chain)
	}
	s.history = historyOf(s.Signed, chain)
	return s, err
}

// advance moves the belief on to the newest keyring of those on a broker, where
// anybody may have put some, and keeps it.
func (b belief) advance(chain []*capsign.SignedKeyring) (belief, error) {
	newest, refused := b.Advance(chain)
	switch {
	case newest != nil:
		return b.moved(newest)
	case refused != nil:
		return b, refused
	}
	return b, capsign.KeyringMissing
}

// ownTrust believes the roots of the newest keyring that its own have signed.
func ownTrust(chain []*capsign.SignedKeyring) capsign.Trust {
	for _, s := range slices.Backward(chain) {
		roots := s.Keyring().Roots
		trust := capsign.Trust{Roots: roots.Fingerprints(), Threshold: roots.Threshold}
		if trust.First(s) == nil {
			return trust
		}
	}
	return capsign.Trust{}
}

// historyOf returns the keyrings that lead to newest, oldest first. A keyring is
// told by its hash, so what a stranger has put in its place is none.
func historyOf(newest *capsign.SignedKeyring, chain []*capsign.SignedKeyring) []*capsign.SignedKeyring {
	if newest == nil {
		return nil
	}
	history := []*capsign.SignedKeyring{newest}
	for _, s := range slices.Backward(chain) {
		if s.Hash() == history[0].Keyring().Previous {
			history = slices.Insert(history, 0, s)
		}
	}
	return history
}

// readChain returns the keyrings on the broker or, with file, of a chain that
// was exported.
func (a *app) readChain(ctx context.Context, file input) ([]*capsign.SignedKeyring, error) {
	if file.path != "" {
		data, err := a.read(ctx, file, capsign.MaxChainSize)
		if err != nil {
			return nil, err
		}
		return parseChain(data)
	}
	nc, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	return rotation.Chain(ctx, nc)
}

// parseChain decodes an exported chain.
func parseChain(data []byte) ([]*capsign.SignedKeyring, error) {
	chain, err := capsign.ParseChain(data)
	if errors.Is(err, capsign.BadRequest) {
		return nil, &fault{
			code: capsign.BadRequest, sentence: "--keyring is not a keyring that cap exported.",
			hint: "make one with 'cap keyring export --out FILE'.",
		}
	}
	return chain, err
}
