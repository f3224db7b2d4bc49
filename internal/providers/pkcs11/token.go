//go:build cgo && !nopkcs11

package pkcs11

import (
	"cmp"
	"context"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	p11 "github.com/miekg/pkcs11"

	"github.com/capsign/cap/capsign"
)

// token is one that providers are open on, with the sessions that they share.
type token struct {
	m             *module
	label, serial string
	class         capsign.Class
	sessions      *threads

	// Under m.admin.
	users   int
	keys    map[*key]struct{} // of all its providers
	guard   LoginGuard
	pin     []byte // nil: not logged in yet
	slot    uint
	anchor  uint    // the session that keeps the login
	era     uint64  // the module's era that the anchor belongs to; zero: there is none
	resumed backoff // of resuming without initialising the module

	// epoch counts how often the keys were found: a handle of an earlier epoch
	// is worth nothing. It changes with the gate shut.
	epoch   atomic.Uint64
	latched atomic.Pointer[capsign.Code] // why nobody may log in any more; nil: one may
	broken  atomic.Pointer[fault]        // nil: it works, as far as is known

	authenticating sync.Mutex // held while a key's PIN is sent
}

// id is what the guard knows the token by.
func (t *token) id() string { return t.serial + "/" + t.label }

// attach returns the token that cfg describes, logged in to, with one user
// more; detach must follow.
func attach(ctx context.Context, cfg Config) (*token, error) {
	path, err := modulePath(cfg.Module)
	if err != nil {
		return nil, err
	}
	m := moduleAt(path)
	if err := m.admin.take(ctx); err != nil {
		return nil, err
	}
	defer m.admin.give()
	if err := m.join(cfg); err != nil {
		return nil, err
	}
	t, err := m.attach(ctx, cfg)
	if err != nil {
		m.part(context.WithoutCancel(ctx))
		return nil, err
	}
	return t, nil
}

// attach is attach under m.admin.
func (m *module) attach(ctx context.Context, cfg Config) (*token, error) {
	t, err := m.choose(ctx, cfg)
	if err != nil {
		return nil, err
	}
	t.users++
	if err := t.admit(ctx, cfg); err != nil {
		t.part(context.WithoutCancel(ctx))
		return nil, err
	}
	return t, nil
}

// choose returns the one token that fits cfg.
func (m *module) choose(ctx context.Context, cfg Config) (*token, error) {
	if len(m.tokens) > 0 && !m.up.Load() { // the others' threads stand behind the gate
		m.lookAgain(ctx)
		if !m.up.Load() {
			return nil, errDown
		}
	}
	seen, err := m.fitting(ctx, cfg)
	if codeOf(err) == capsign.TokenAbsent && m.idle() {
		m.lookAgain(ctx)
		seen, err = m.fitting(ctx, cfg)
	}
	if err != nil {
		return nil, err
	}
	m.log.InfoContext(ctx, "pkcs11 token chosen", slog.String("label", seen.label), slog.String("serial", seen.serial))
	for _, t := range m.tokens {
		if t.label == seen.label && t.serial == seen.serial && t.slot == seen.slot {
			return t, nil
		}
	}
	return m.add(cfg, seen), nil
}

// add adds a token that nobody has used yet and starts its sessions' threads.
func (m *module) add(cfg Config, seen tokenSeen) *token {
	t := &token{m: m, label: seen.label, serial: seen.serial, slot: seen.slot, keys: make(map[*key]struct{})}
	t.class = cmp.Or(cfg.Class, m.class, seen.class, capsign.ClassToken)
	t.sessions = newThreads(cfg.sessions(t.class, seen.maxSessions), sessionWait)
	m.tokens = append(m.tokens, t)
	return t
}

// admit lets one user more on to the token: who comes first logs in, and the
// others must bring the same PIN. C_Login cannot tell, it accepts any PIN once
// the process is logged in.
func (t *token) admit(ctx context.Context, cfg Config) error {
	if t.pin != nil && t.latched.Load() == nil {
		if subtle.ConstantTimeCompare(t.pin, cfg.PIN) != 1 {
			return fmt.Errorf("login: %w", capsign.PINIncorrect)
		}
		t.guard = cfg.Guard
		if err := t.anchorAgain(ctx); err != nil {
			return err
		}
		return t.loginAgain(ctx)
	}
	if err := t.anchorAgain(ctx); err != nil {
		return err
	}
	if err := t.m.call(ctx, t.logout); err != nil {
		return err
	}
	if err := t.login(ctx, cfg.PIN, false, cfg.Guard); err != nil {
		return err
	}
	t.pin, t.guard = append(t.pin[:0:0], cfg.PIN...), cfg.Guard
	t.latched.Store(nil)
	t.mendNow()
	return nil
}

// detach takes one user and its keys off the token.
func (t *token) detach(ctx context.Context, keys []*key) error {
	if err := t.m.admin.take(ctx); err != nil {
		return err
	}
	defer t.m.admin.give()
	for _, k := range keys {
		delete(t.keys, k)
	}
	t.part(ctx)
	t.m.part(ctx)
	return nil
}

// part counts one user less. The last one's leaving ends the sessions and with
// them the login, unless one of them does not return from the library.
func (t *token) part(ctx context.Context) {
	t.users--
	if t.users > 0 || t.sessions.oneStuck(t.m.limit) || t.m.gate.shut(t.m.limit) != nil {
		return
	}
	defer t.m.gate.open()
	if t.m.call(ctx, t.close) != nil {
		return
	}
	t.sessions.stop()
	clear(t.pin)
	t.m.forget(t)
}

// close ends all the token's sessions, on the control thread.
func (t *token) close(ctx context.Context, th *thread) error {
	t.era = 0
	if !t.m.up.Load() {
		return nil
	}
	err := t.m.enter(ctx, th, "C_CloseAllSessions", func() error { return t.m.lib.CloseAllSessions(t.slot) })
	if code := codeOf(err); code == capsign.ProviderTimeout {
		return err
	}
	return nil // a token that is gone has closed them itself
}

// forget removes a token from the module.
func (m *module) forget(t *token) {
	kept := m.tokens[:0]
	for _, other := range m.tokens {
		if other != t {
			kept = append(kept, other)
		}
	}
	clear(m.tokens[len(kept):])
	m.tokens = kept
}

// idle reports whether tokens are in use and all of those are broken.
func (m *module) idle() bool {
	for _, t := range m.tokens {
		if t.users > 0 && t.broken.Load() == nil {
			return false
		}
	}
	return len(m.tokens) > 0
}

// tokenSeen is a token as the library shows it.
type tokenSeen struct {
	slot          uint
	label, serial string
	flags         uint
	maxSessions   uint
	class         capsign.Class // empty: nothing special
}

// classLike returns ClassChip for what names itself after a TPM or a small USB
// HSM, else "".
func classLike(names ...string) capsign.Class {
	all := strings.ToLower(strings.Join(names, " "))
	for _, chip := range []string{"tpm", "yubi", "nitrokey"} {
		if strings.Contains(all, chip) {
			return capsign.ClassChip
		}
	}
	return ""
}

// lookAt returns a slot's token, on the control thread.
func (m *module) lookAt(ctx context.Context, th *thread, slot uint) (tokenSeen, error) {
	var info p11.TokenInfo
	err := m.enter(ctx, th, "C_GetTokenInfo", func() (err error) { info, err = m.lib.GetTokenInfo(slot); return err })
	if err != nil {
		return tokenSeen{}, err
	}
	return tokenSeen{
		slot:        slot,
		label:       strings.TrimRight(info.Label, " \x00"),
		serial:      strings.TrimRight(info.SerialNumber, " \x00"),
		flags:       info.Flags,
		maxSessions: info.MaxSessionCount,
		class:       classLike(info.ManufacturerID, info.Model),
	}, nil
}
