//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/capsign/cap/capsign"
)

// errDown says that a module could not be initialised again.
var errDown = fmt.Errorf("module is down: %w", capsign.ProviderUnavailable)

// healTime bounds one healing.
const healTime = 30 * time.Second

// fault is why a token does not sign, and when to try to mend that again.
type fault struct {
	code    capsign.Code
	deep    bool // initialising the module may help, nothing less
	retryAt time.Time
}

// healing is one attempt to mend a token, shared by all who wait for it. It
// goes on where they do not: half of it would be no use.
type healing struct {
	token *token
	done  chan struct{} // closed when err is set
	err   error
}

// ready returns nil where k may be tried, or why it cannot sign. A token that
// is known to be broken is mended when it is time to; until then, and meanwhile
// to all others, it returns the fault's code at once.
func (t *token) ready(ctx context.Context, k *key) error {
	if code := t.latched.Load(); code != nil {
		return fmt.Errorf("token stands still: %w", *code)
	}
	if k.changed.Load() {
		return errChanged
	}
	if f := t.broken.Load(); f != nil {
		if time.Now().Before(f.retryAt) || t.m.isHealing() {
			return f.code
		}
		return t.heal(ctx, t.epoch.Load(), f.deep, f.code)
	}
	if due := k.goneUntil.Load(); due != nil {
		if time.Now().Before(*due) {
			return errGone
		}
		return t.heal(ctx, t.epoch.Load(), false, errGone)
	}
	return nil
}

// recover does what may help after a try that failed with err in an epoch. Nil
// means that another try is worth it.
func (t *token) recover(ctx context.Context, epoch uint64, err error) error {
	switch classOf(err) {
	case session:
		return nil
	case login:
		return t.heal(ctx, epoch, false, err)
	case device:
		return t.heal(ctx, epoch, true, err)
	}
	return err
}

// isHealing reports whether a healing runs.
func (m *module) isHealing() bool {
	m.healMu.Lock()
	defer m.healMu.Unlock()
	return m.healing != nil
}

// heal mends the token after a failure in an epoch, unless it has been mended
// since, and waits for that as long as ctx lasts. However many callers fail at
// once, one healing runs.
func (t *token) heal(ctx context.Context, epoch uint64, deep bool, cause error) error {
	h := t.startHealing(ctx, epoch, deep, cause)
	if h == nil {
		return nil
	}
	select {
	case <-h.done:
	case <-ctx.Done():
		return errTimeout
	}
	if h.token != t {
		return nil // another token of the module's; ask again
	}
	return h.err
}

// startHealing returns the healing that runs, or starts one; nil means that
// none is needed any more. Its goroutine ends within healTime and the limit of
// a call, whether or not ctx does.
func (t *token) startHealing(ctx context.Context, epoch uint64, deep bool, cause error) *healing {
	m := t.m
	m.healMu.Lock()
	defer m.healMu.Unlock()
	if t.epoch.Load() != epoch {
		return nil
	}
	if m.healing == nil {
		h := &healing{token: t, done: make(chan struct{})}
		m.healing = h
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healTime)
			defer cancel()
			h.err = t.mend(ctx, epoch, deep, cause)
			m.healMu.Lock()
			m.healing = nil
			m.healMu.Unlock()
			close(h.done)
		}()
	}
	return m.healing
}

// mend is what a healing does.
func (t *token) mend(ctx context.Context, epoch uint64, deep bool, cause error) error {
	m := t.m
	if err := m.admin.take(ctx); err != nil {
		return err
	}
	defer m.admin.give()
	if t.users == 0 || t.epoch.Load() != epoch {
		return nil
	}
	if err := m.gate.shut(m.limit); err != nil {
		return t.fail(ctx, err, deep)
	}
	defer m.gate.open()
	if !deep && t.resumed.ready(time.Now()) {
		t.resumed.done(time.Now())
		if cause = t.resume(ctx); cause == nil {
			return nil
		}
		if code := codeOf(cause); code != capsign.ProviderUnavailable && code != capsign.TokenAbsent {
			return t.fail(ctx, cause, false)
		}
	}
	if !m.reinits.ready(time.Now()) {
		return t.fail(ctx, cause, true)
	}
	return m.reinitialize(ctx, t)
}

// fail notes that the token is broken and returns why.
func (t *token) fail(ctx context.Context, err error, deep bool) error {
	now := time.Now()
	retryAt := t.m.reinits.due()
	if retryAt.Before(now) {
		retryAt = now.Add(minBackoff)
	}
	f := &fault{code: codeOf(err), deep: deep, retryAt: retryAt}
	if old := t.broken.Swap(f); old == nil || old.code != f.code {
		t.m.log.WarnContext(ctx, "pkcs11 token does not sign", slog.String("code", string(f.code)))
	}
	return f.code
}

// mendNow makes a fault due: a new login has taken what stood in the way.
func (t *token) mendNow() {
	t.resumed = backoff{}
	if f := t.broken.Load(); f != nil {
		t.broken.Store(&fault{code: f.code})
	}
}

// lookAgain initialises the library again, with nobody behind the gate, where
// that is due.
func (m *module) lookAgain(ctx context.Context) {
	if !m.reinits.ready(time.Now()) || m.gate.shut(m.limit) != nil {
		return
	}
	defer m.gate.open()
	_ = m.reinitialize(ctx, nil) // each token keeps its own fault
}

// reinitialize finalises and initialises the library, which heals a token that
// was away, and takes up work on all its tokens. It returns t's outcome. The
// gate must be shut.
func (m *module) reinitialize(ctx context.Context, t *token) (outcome error) {
	m.reinits.done(time.Now())
	err := m.call(ctx, m.finalize)
	if err == nil {
		err = m.call(ctx, m.initialize)
	}
	for _, other := range m.tokens {
		failed := err
		if failed == nil {
			failed = other.resume(ctx)
		}
		if failed != nil {
			failed = other.fail(ctx, failed, true)
		}
		if other == t {
			outcome = failed
		}
	}
	return outcome
}

// resume makes the token usable again: it finds its slot, opens the anchor
// session, logs in where that is lost, and finds the keys. The gate must be
// shut.
func (t *token) resume(ctx context.Context) error {
	if t.users == 0 { // a call that hung has left it over; the next user logs in
		clear(t.pin)
		t.pin = nil
		return nil
	}
	seen, err := t.again(ctx)
	if err != nil {
		return err
	}
	t.slot = seen.slot
	if err := t.anchorAgain(ctx); err != nil {
		return err
	}
	if err := t.loginAgain(ctx); err != nil {
		return err
	}
	if err := t.refind(ctx); err != nil {
		return err
	}
	t.epoch.Add(1)
	if t.broken.Swap(nil) != nil {
		t.m.log.InfoContext(ctx, "pkcs11 token works again")
	}
	return nil
}

// loginAgain logs in where the anchor says that the login is lost.
func (t *token) loginAgain(ctx context.Context) error {
	var logged bool
	err := t.m.call(ctx, func(ctx context.Context, th *thread) error {
		state, err := t.state(ctx, th)
		logged = isUser(state)
		return err
	})
	if err != nil || logged {
		return err
	}
	if code := t.latched.Load(); code != nil {
		return *code
	}
	return t.login(ctx, t.pin, true, t.guard)
}
