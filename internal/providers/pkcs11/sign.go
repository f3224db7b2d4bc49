//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"github.com/capsign/cap/capsign"
)

// maxTries is how often one signature is tried inside the module.
const maxTries = 3

// errShut says that a thread stood before a gate that was shut.
var errShut = fmt.Errorf("module is being mended: %w", capsign.ProviderUnavailable)

// sign returns the signature of what op says as the token makes it. Another try
// is harmless: nobody has seen the signature of the one before.
func (t *token) sign(ctx context.Context, k *key, op operation) ([]byte, error) {
	for tries := 1; ; {
		if err := t.ready(ctx, k); err != nil {
			return nil, err
		}
		raw, epoch, err := t.try(ctx, k, op)
		if errors.Is(err, errShut) {
			if err := t.m.gate.wait(ctx); err != nil {
				return nil, err
			}
			continue
		}
		if err == nil {
			return raw, nil
		}
		if mended := t.recover(ctx, epoch, err); mended != nil {
			return nil, mended
		}
		if tries == maxTries {
			return nil, err
		}
		tries++
	}
}

// try makes one try at a signature and returns the epoch it was made in.
func (t *token) try(ctx context.Context, k *key, op operation) ([]byte, uint64, error) {
	var raw []byte
	var epoch uint64
	err := t.sessions.do(ctx, t.m.limit, func(th *thread) (err error) {
		if ctx.Err() != nil {
			return errTimeout
		}
		if !t.m.gate.enter() {
			return errShut
		}
		defer t.m.gate.leave()
		epoch = t.epoch.Load()
		raw, err = t.signOn(ctx, th, k, op)
		return err
	})
	if err != nil {
		if _, ok := errors.AsType[callError](err); !ok {
			return nil, 0, err // the thread may still be at work on raw and epoch
		}
		return nil, epoch, err
	}
	return raw, epoch, nil
}

// signOn signs on th's session. A session that has seen an error is closed: an
// operation may still be active on it.
func (t *token) signOn(ctx context.Context, th *thread, k *key, op operation) ([]byte, error) {
	if !t.m.up.Load() || t.broken.Load() != nil {
		return nil, errShut
	}
	if k.goneUntil.Load() != nil {
		return nil, errGone
	}
	if th.era != t.m.era {
		session, err := t.openSession(ctx, th, 0)
		if err != nil {
			return nil, err
		}
		th.session, th.era = session, t.m.era
	}
	// From here on the signature is made whether or not ctx ends: a session with
	// half an operation is of no use.
	raw, err := t.signIn(context.WithoutCancel(ctx), th, k, op)
	if err != nil {
		th.era = 0
		_ = t.m.enter(context.WithoutCancel(ctx), th, "C_CloseSession",
			func() error { return t.m.lib.CloseSession(p11.SessionHandle(th.session)) })
		return nil, err
	}
	return raw, nil
}

// signIn makes the calls of one signature.
func (t *token) signIn(ctx context.Context, th *thread, k *key, op operation) (raw []byte, err error) {
	session := p11.SessionHandle(th.session)
	mechanism := []*p11.Mechanism{{Mechanism: op.mechanism, Parameter: op.parameter}}
	err = t.m.enter(ctx, th, "C_SignInit",
		func() error { return t.m.lib.SignInit(session, mechanism, p11.ObjectHandle(k.handle)) })
	if err != nil {
		return nil, err
	}
	if k.authAlways {
		if err := t.authenticate(ctx, th, k); err != nil {
			return nil, err
		}
	}
	err = t.m.enter(ctx, th, "C_Sign", func() (err error) { raw, err = t.m.lib.Sign(session, op.data); return err })
	if code := pinFailure(codeOf(err)); err != nil && code != "" {
		t.block(ctx, code, k.guard)
	}
	return raw, err
}

// authenticate sends a key's PIN for the one operation that th has begun. Only
// one thread does so at a time, so that a wrong PIN is sent once.
func (t *token) authenticate(ctx context.Context, th *thread, k *key) error {
	th.enter() // who waits for one that is stuck is stuck
	t.authenticating.Lock()
	defer t.authenticating.Unlock()
	th.leave()
	if code := t.latched.Load(); code != nil {
		return fmt.Errorf("token stands still: %w", *code)
	}
	err := t.m.enter(ctx, th, "C_Login", func() error {
		return t.m.lib.Login(p11.SessionHandle(th.session), p11.CKU_CONTEXT_SPECIFIC, string(k.pin))
	})
	if code := pinFailure(codeOf(err)); err != nil && code != "" {
		t.block(ctx, code, k.guard)
	}
	return err
}

// prove signs a message of its own with k: a private key that does not belong
// to the public one found beside it wraps [capsign.Integrity].
func (t *token) prove(ctx context.Context, k *key) error {
	msg := []byte("cap: does this key belong to that public key? " + rand.Text())
	op, err := signing(k.Alg, msg)
	if err != nil {
		return err
	}
	raw, err := t.sign(ctx, k, op)
	if err != nil {
		return err
	}
	sig, err := canonical(k.Key, raw)
	if err != nil {
		return err
	}
	if k.Verify(msg, sig) != nil {
		return fmt.Errorf("public key of another private key: %w", capsign.Integrity)
	}
	return nil
}
