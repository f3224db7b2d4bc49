//go:build cgo

package p11test

import (
	"sync"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/capsign/cap/capsign"
)

func TestP11KitSigns(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		behind := SoftHSM(t)
		behind.Generate(t, capsign.ES256, "k", "01")
		r := P11Kit(t, behind)
		u := use(t, r.Token)
		u.mustSignP256("k")
		r.Generate(t, capsign.ES256, "k.2", "02")
		u.mustSignP256("k.2")
	})
}

func TestP11KitDies(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		behind := SoftHSM(t)
		behind.Generate(t, capsign.ES256, "k", "01")
		r := P11Kit(t, behind)
		u := use(t, r.Token)
		key := u.key("k")
		r.Kill(t)
		_, err := u.sign(key, pkcs11.CKM_ECDSA)
		wantRV(t, err, pkcs11.CKR_DEVICE_ERROR)
		r.Restart(t)
		_, err = u.sign(key, pkcs11.CKM_ECDSA)
		wantRV(t, err, pkcs11.CKR_DEVICE_ERROR)
		if err := u.ctx.Finalize(); err != nil {
			t.Fatal(err)
		}
		use(t, r.Token).mustSignP256("k")
	})
}

func TestP11KitHangs(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		behind := SoftHSM(t)
		behind.Generate(t, capsign.ES256, "k", "01")
		r := P11Kit(t, behind)
		u := use(t, r.Token)
		key := u.key("k")
		r.Stop(t)
		signed := make(chan error, 1)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := u.sign(key, pkcs11.CKM_ECDSA)
			signed <- err
		})
		select {
		case err := <-signed:
			t.Fatalf("signed by a server that is stopped: %v", err)
		case <-time.After(200 * time.Millisecond):
		}
		r.Cont(t)
		wg.Wait()
		if err := <-signed; err != nil {
			t.Error(err)
		}
	})
}

// A shim behind the server is a slow network.
func TestP11KitIsSlow(t *testing.T) {
	OwnProcess(t, func(t *testing.T) {
		c := chaotic(t)
		u := use(t, P11Kit(t, c.Token).Token)
		c.Rule(t, "C_Sign delay_ms=40")
		start := time.Now()
		u.mustSignP256("k")
		if took := time.Since(start); took < 40*time.Millisecond {
			t.Errorf("took %v", took)
		}
		c.wantCount(t, "C_Sign", 1)
	})
}
