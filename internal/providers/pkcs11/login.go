//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/capsign/cap/capsign"
)

// blockTime bounds how long a failure may take to be recorded.
const blockTime = 2 * time.Second

// anchorAgain sees to it that the session that keeps the login is open.
func (t *token) anchorAgain(ctx context.Context) error {
	return t.m.call(ctx, func(ctx context.Context, th *thread) error {
		if t.era == t.m.era {
			if _, err := t.state(ctx, th); err == nil {
				return nil
			}
		}
		t.era = 0
		session, err := t.openSession(ctx, th, 0)
		if err != nil {
			return err
		}
		t.anchor, t.era = session, t.m.era
		return nil
	})
}

// openSession opens a session, read-only but for flags.
func (t *token) openSession(ctx context.Context, th *thread, flags uint) (session uint, err error) {
	err = t.m.enter(ctx, th, "C_OpenSession", func() error {
		handle, err := t.m.lib.OpenSession(t.slot, p11.CKF_SERIAL_SESSION|flags)
		session = uint(handle)
		return err
	})
	return session, err
}

// state returns the anchor's CK_STATE.
func (t *token) state(ctx context.Context, th *thread) (state uint, err error) {
	err = t.m.enter(ctx, th, "C_GetSessionInfo", func() error {
		info, err := t.m.lib.GetSessionInfo(p11.SessionHandle(t.anchor))
		state = info.State
		return err
	})
	return state, err
}

// isUser reports whether a session in the state may use private keys.
func isUser(state uint) bool {
	return state == p11.CKS_RO_USER_FUNCTIONS || state == p11.CKS_RW_USER_FUNCTIONS
}

// logout ends a login that this process has, so that the next one tries its
// PIN.
func (t *token) logout(ctx context.Context, th *thread) error {
	state, err := t.state(ctx, th)
	if err != nil || !isUser(state) {
		return err
	}
	return t.m.enter(ctx, th, "C_Logout", func() error { return t.m.lib.Logout(p11.SessionHandle(t.anchor)) })
}

// login logs in through the guard. It tries the PIN once at the most, and not
// at all after a failure. Its errors carry nothing of the guard's but the code.
// Where it is this process that is logged in already, that counts as success
// for a PIN that the token has proved.
func (t *token) login(ctx context.Context, pin []byte, proved bool, guard LoginGuard) error {
	err := guard.Login(ctx, t.id(), func(ctx context.Context) error {
		err := t.m.control.run(ctx, t.m.limit, &job{
			work: func(th *thread) error { return t.loginOn(ctx, th, pin, proved) },
			late: func(err error) { t.lateFailure(ctx, err, guard) },
			done: make(chan struct{}),
		})
		if err != nil {
			return refuse("login", err)
		}
		return nil
	})
	if err == nil {
		return nil
	}
	code, ok := errors.AsType[capsign.Code](err)
	if !ok {
		code = capsign.ProviderUnavailable // a guard that does not know
	}
	t.latch(code)
	return fmt.Errorf("login: %w", code)
}

// loginOn logs in on the control thread, unless the token's flags say that it
// would be no use, or the last try before it locks.
func (t *token) loginOn(ctx context.Context, th *thread, pin []byte, proved bool) error {
	seen, err := t.m.lookAt(ctx, th, t.slot)
	if err != nil {
		return err
	}
	if seen.flags&ckfLoginRequired == 0 {
		return nil
	}
	if err := mayLogin(seen.flags); err != nil {
		if errors.Is(err, errFinalTry) {
			t.m.log.ErrorContext(ctx, "pkcs11 token has one login left before it locks; the PIN is not tried")
		}
		return err
	}
	err = t.m.enter(ctx, th, "C_Login", func() error {
		return t.m.lib.Login(p11.SessionHandle(t.anchor), p11.CKU_USER, string(pin))
	})
	if proved && isRV(err, rvAlreadyLoggedIn) {
		return nil
	}
	t.latch(codeOf(err))
	return err
}

// lateFailure records how a login ended that nobody waited for any longer.
func (t *token) lateFailure(ctx context.Context, err error, guard LoginGuard) {
	if code := pinFailure(codeOf(err)); code != "" && err != nil {
		t.block(ctx, code, guard)
	}
}

// latch ends all logins of this process to the token, if code is a reason to.
func (t *token) latch(code capsign.Code) {
	if stops := pinFailure(code); stops != "" {
		t.latched.CompareAndSwap(nil, &stops)
	}
}

// block latches the token and tells the guard of a failure that it has not
// seen. It tells of it whatever becomes of the request that met the failure.
func (t *token) block(ctx context.Context, code capsign.Code, guard LoginGuard) {
	t.latch(code)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), blockTime)
	defer cancel()
	if err := guard.Block(ctx, t.id(), code); err != nil {
		t.m.log.ErrorContext(ctx, "pkcs11 login failure could not be recorded for the other workers")
	}
}
