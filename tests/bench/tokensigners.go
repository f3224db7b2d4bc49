//go:build cgo && !nopkcs11

package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"strconv"

	p11 "github.com/miekg/pkcs11"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/pkcs11"
)

// callsModules says that this binary can load a module.
const callsModules = true

// openProvider makes a key on the token and opens the provider on it, with the
// sessions that it takes by itself.
func openProvider(ctx context.Context, module string, alg capsign.Alg, messages [][]byte) (contenders, func() error, error) {
	cfg := pkcs11.Config{
		Module: module, TokenLabel: tokenLabel, PIN: []byte(tokenPIN), Alg: alg,
		KeyLabel: "bench", KeyName: "bench", Guard: pkcs11.OneLogin(),
	}
	if _, err := pkcs11.Generate(ctx, cfg); err != nil {
		return nil, nil, err
	}
	provider, err := pkcs11.Open(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	kid, _ := provider.CurrentKID(ctx) // never fails, see pkcs11
	key, err := provider.PublicKey(ctx, kid)
	if err != nil {
		return nil, nil, errors.Join(err, provider.Close()) //nolint:contextcheck // Close takes its own time
	}
	sign := func(name string) signer {
		return func(n int) error {
			msg := messages[n%len(messages)]
			sig, err := provider.Sign(ctx, kid, msg)
			if err == nil && name == verified {
				err = key.Verify(msg, sig.Bytes)
			}
			return err
		}
	}
	return func(name string) ([]signer, error) {
		signers := make([]signer, 4*2*runtime.NumCPU()) // four callers for each of its sessions
		for i := range signers {
			signers[i] = sign(name)
		}
		return signers, nil
	}, provider.Close, nil
}

// ckmEdDSA is CKM_EDDSA, which the wrapper's headers are too old for.
const ckmEdDSA = 0x1057

// rawModule is a module called as directly as Go can.
type rawModule struct {
	lib       *p11.Ctx
	slot      uint
	login     p11.SessionHandle // keeps the login
	key       p11.ObjectHandle
	mechanism []*p11.Mechanism
	data      [][]byte // what C_Sign is given of each message
}

// openModule logs in to the token that the provider's process has made a key on.
func openModule(_ context.Context, path string, alg capsign.Alg, messages [][]byte) (contenders, func() error, error) {
	m := &rawModule{lib: p11.New(path)}
	if m.lib == nil {
		return nil, nil, errors.New("the module cannot be loaded")
	}
	m.prepare(alg, messages)
	if err := m.open(); err != nil {
		return nil, nil, err
	}
	return m.contenders, m.lib.Finalize, nil
}

// prepare makes the input of C_Sign beforehand: digests are not the module's.
func (m *rawModule) prepare(alg capsign.Alg, messages [][]byte) {
	m.data = messages
	if alg != capsign.Ed25519 {
		m.data = make([][]byte, len(messages))
		for i, msg := range messages {
			digest := sha256.Sum256(msg)
			m.data[i] = digest[:]
		}
	}
	mechanism := map[capsign.Alg]*p11.Mechanism{
		capsign.Ed25519: p11.NewMechanism(ckmEdDSA, nil),
		capsign.ES256:   p11.NewMechanism(p11.CKM_ECDSA, nil),
		capsign.PS256:   p11.NewMechanism(p11.CKM_RSA_PKCS_PSS, p11.NewPSSParams(p11.CKM_SHA256, p11.CKG_MGF1_SHA256, sha256.Size)),
	}
	m.mechanism = []*p11.Mechanism{mechanism[alg]}
}

// open logs in and finds the key: the row's token has no other.
func (m *rawModule) open() (err error) {
	if err := m.lib.Initialize(); err != nil {
		return err
	}
	slots, err := m.lib.GetSlotList(true)
	if err != nil || len(slots) == 0 {
		return errors.Join(errors.New("no token"), err)
	}
	m.slot = slots[0]
	if m.login, err = m.session(); err != nil {
		return err
	}
	if err := m.lib.Login(m.login, p11.CKU_USER, tokenPIN); err != nil {
		return err
	}
	if err := m.lib.FindObjectsInit(m.login, []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PRIVATE_KEY)}); err != nil {
		return err
	}
	keys, _, err := m.lib.FindObjects(m.login, 2)
	if err != nil || len(keys) != 1 {
		return errors.Join(fmt.Errorf("%d keys", len(keys)), err)
	}
	m.key = keys[0]
	return m.lib.FindObjectsFinal(m.login)
}

// session opens a session.
func (m *rawModule) session() (p11.SessionHandle, error) {
	return m.lib.OpenSession(m.slot, p11.CKF_SERIAL_SESSION)
}

// contenders returns one signer for each of so many new sessions.
func (m *rawModule) contenders(sessions string) ([]signer, error) {
	count, err := strconv.Atoi(sessions)
	if err != nil {
		return nil, err
	}
	var signers []signer
	for range count {
		session, err := m.session()
		if err != nil {
			return nil, err
		}
		signers = append(signers, func(n int) error {
			if err := m.lib.SignInit(session, m.mechanism, m.key); err != nil {
				return err
			}
			_, err := m.lib.Sign(session, m.data[n%len(m.data)])
			return err
		})
	}
	return signers, nil
}
