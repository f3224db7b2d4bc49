//go:build cgo

package p11test

import (
	"sync"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/capsign/cap/capsign"
)

func TestTPMSigns(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		tpm := TPM(t)
		if tpm.Serial == "" {
			t.Error("no serial")
		}
		tpm.Generate(t, capsign.ES256, "k", "01")
		u := use(t, tpm.Token)
		u.mustSignP256("k")
		tpm.Generate(t, capsign.ES256, "k.2", "02") // while this process has the token open
		if err := u.ctx.Finalize(); err != nil {
			t.Fatal(err)
		}
		u = use(t, tpm.Token)
		u.mustSignP256("k.2")
		u.mustSignP256("k")
	})
}

func TestTPMLocks(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		tpm := TPM(t)
		tpm.Generate(t, capsign.ES256, "k", "01")
		tpm.Generate(t, capsign.ES256, "fresh", "02")
		u := use(t, tpm.Token)
		u.mustSignP256("k")
		key, fresh := u.key("k"), u.key("fresh")
		tpm.Lock(t)
		_, err := u.sign(key, pkcs11.CKM_ECDSA)
		wantRV(t, err, pkcs11.CKR_GENERAL_ERROR)
		_, err = u.sign(fresh, pkcs11.CKM_ECDSA)
		wantRV(t, err, pkcs11.CKR_PIN_LOCKED)
		if err := u.ctx.Finalize(); err != nil {
			t.Fatal(err)
		}
		u = open(t, tpm.Token)
		wantRV(t, u.ctx.Login(u.session, pkcs11.CKU_USER, tpm.PIN), pkcs11.CKR_PIN_LOCKED)
		tpm.Unlock(t)
		if err := u.ctx.Login(u.session, pkcs11.CKU_USER, tpm.PIN); err != nil {
			t.Fatal(err)
		}
		u.mustSignP256("k")
	})
}

func TestTPMDies(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		tpm := TPM(t)
		tpm.Generate(t, capsign.ES256, "k", "01")
		u := use(t, tpm.Token)
		key := u.key("k")
		tpm.Kill(t)
		_, err := u.sign(key, pkcs11.CKM_ECDSA)
		wantRV(t, err, pkcs11.CKR_GENERAL_ERROR)
		tpm.Restart(t)
		_, err = u.sign(key, pkcs11.CKM_ECDSA)
		wantRV(t, err, pkcs11.CKR_GENERAL_ERROR)
		if err := u.ctx.Finalize(); err != nil {
			t.Fatal(err)
		}
		use(t, tpm.Token).mustSignP256("k")
	})
}

func TestTPMHangs(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		tpm := TPM(t)
		tpm.Generate(t, capsign.ES256, "k", "01")
		u := use(t, tpm.Token)
		key := u.key("k")
		tpm.Stop(t)
		signed := make(chan error, 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := u.sign(key, pkcs11.CKM_ECDSA)
			signed <- err
		})
		select {
		case err := <-signed:
			t.Fatalf("signed by a TPM that is stopped: %v", err)
		case <-time.After(200 * time.Millisecond):
		}
		tpm.Cont(t)
		wg.Wait()
		if err := <-signed; err != nil {
			t.Error(err)
		}
	})
}
