//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"fmt"
	"slices"

	"github.com/capsign/cap/capsign"
)

// Why not exactly one token is chosen.
var (
	errNoToken   = fmt.Errorf("no such token: %w", capsign.TokenAbsent)
	errTwoTokens = fmt.Errorf("more than one token fits: %w", capsign.KeyAmbiguous)
)

// fitting returns the one token that cfg describes, of a library that it
// initialises where need be.
func (m *module) fitting(ctx context.Context, cfg Config) (tokenSeen, error) {
	tokens, err := m.list(ctx)
	if err != nil {
		return tokenSeen{}, err
	}
	if cfg.Slot != nil {
		if tokens, err = atSlot(tokens, *cfg.Slot); err != nil {
			return tokenSeen{}, err
		}
	}
	return only(slices.DeleteFunc(tokens, func(seen tokenSeen) bool {
		return cfg.TokenLabel != "" && cfg.TokenLabel != seen.label ||
			cfg.TokenSerial != "" && cfg.TokenSerial != seen.serial
	}))
}

// again returns the token that t is now, after an initialisation that may have
// given it another slot.
func (t *token) again(ctx context.Context) (tokenSeen, error) {
	tokens, err := t.m.list(ctx)
	if err != nil {
		return tokenSeen{}, err
	}
	tokens = slices.DeleteFunc(tokens, func(seen tokenSeen) bool {
		return seen.label != t.label || seen.serial != t.serial
	})
	for _, seen := range tokens {
		if seen.slot == t.slot {
			return seen, nil
		}
	}
	if len(tokens) != 1 {
		return tokenSeen{}, errNoToken // which of several, nobody can tell any more
	}
	return tokens[0], nil
}

// only returns the single one of tokens.
func only(tokens []tokenSeen) (tokenSeen, error) {
	switch len(tokens) {
	case 0:
		return tokenSeen{}, errNoToken
	case 1:
		return tokens[0], nil
	}
	return tokenSeen{}, errTwoTokens
}

// atSlot returns the token of a slot id or, where no token is in such a slot,
// the one with that index.
func atSlot(tokens []tokenSeen, slot uint) ([]tokenSeen, error) {
	for i, seen := range tokens {
		if seen.slot == slot {
			return tokens[i : i+1], nil
		}
	}
	if slot < uint(len(tokens)) {
		return tokens[slot : slot+1], nil
	}
	return nil, errNoToken
}

// list returns the initialised tokens. One that cannot be asked is left out: it
// may be a stranger's.
func (m *module) list(ctx context.Context) ([]tokenSeen, error) {
	var tokens []tokenSeen
	err := m.call(ctx, func(ctx context.Context, th *thread) error {
		if err := m.initialize(ctx, th); err != nil {
			return err
		}
		var slots []uint
		err := m.enter(ctx, th, "C_GetSlotList", func() (err error) { slots, err = m.lib.GetSlotList(true); return err })
		if err != nil {
			return err
		}
		for _, slot := range slots {
			seen, err := m.lookAt(ctx, th, slot)
			if codeOf(err) == capsign.ProviderTimeout {
				return err
			}
			if err == nil && seen.flags&ckfTokenInitialized != 0 {
				tokens = append(tokens, seen)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err // and not tokens, which the thread may still append to
	}
	return tokens, nil
}
