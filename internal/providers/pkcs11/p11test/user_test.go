//go:build cgo

package p11test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"math/big"
	"testing"
	"unsafe"

	"github.com/miekg/pkcs11"
)

// What miekg/pkcs11, which has the names of version 2.40, lacks.
const ckmEDDSA = 0x1057

// digest is what the tests sign.
var digest = sha256.Sum256([]byte("signed by a rig"))

// user uses a token through its module, in the test's process.
type user struct {
	t       testing.TB
	ctx     *pkcs11.Ctx
	session pkcs11.SessionHandle
}

// use initialises the module, finds the token by label and serial and logs in.
func use(t testing.TB, tok *Token) *user {
	t.Helper()
	u := open(t, tok)
	if err := u.ctx.Login(u.session, pkcs11.CKU_USER, tok.PIN); err != nil {
		t.Fatalf("login: %v", err)
	}
	return u
}

// open is use without the login.
func open(t testing.TB, tok *Token) *user {
	t.Helper()
	ctx := pkcs11.New(tok.Module)
	if ctx == nil {
		t.Fatalf("%s cannot be loaded", tok.Module)
	}
	var options []pkcs11.InitializeOption
	if tok.InitArgs != "" {
		args := append([]byte(tok.InitArgs), 0)
		options = append(options, pkcs11.InitializeWithReserved(unsafe.Pointer(&args[0])))
	}
	if err := ctx.Initialize(options...); err != nil {
		t.Fatalf("initialize: %v", err)
	}
	t.Cleanup(func() { _ = ctx.Finalize() })
	slots, err := ctx.GetSlotList(true)
	if err != nil {
		t.Fatal(err)
	}
	for _, slot := range slots {
		info, err := ctx.GetTokenInfo(slot)
		if err != nil || trim(info.Label) != tok.Label || trim(info.SerialNumber) != tok.Serial {
			continue
		}
		session, err := ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
		if err != nil {
			t.Fatal(err)
		}
		return &user{t: t, ctx: ctx, session: session}
	}
	t.Fatalf("no token %q with serial %q", tok.Label, tok.Serial)
	return nil
}

func trim(padded string) string {
	for len(padded) > 0 && (padded[len(padded)-1] == ' ' || padded[len(padded)-1] == 0) {
		padded = padded[:len(padded)-1]
	}
	return padded
}

// find returns the objects of a class with that CKA_LABEL.
func (u *user) find(class uint, label string) []pkcs11.ObjectHandle {
	u.t.Helper()
	err := u.ctx.FindObjectsInit(u.session, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, class), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
	})
	if err != nil {
		u.t.Fatal(err)
	}
	found, _, err := u.ctx.FindObjects(u.session, 10)
	if err != nil {
		u.t.Fatal(err)
	}
	if err := u.ctx.FindObjectsFinal(u.session); err != nil {
		u.t.Fatal(err)
	}
	return found
}

// key is the one private key with that label.
func (u *user) key(label string) pkcs11.ObjectHandle {
	u.t.Helper()
	found := u.find(pkcs11.CKO_PRIVATE_KEY, label)
	if len(found) != 1 {
		u.t.Fatalf("%d private keys %q", len(found), label)
	}
	return found[0]
}

// sign signs digest.
func (u *user) sign(key pkcs11.ObjectHandle, mechanism uint) ([]byte, error) {
	if err := u.ctx.SignInit(u.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, key); err != nil {
		return nil, err
	}
	return u.ctx.Sign(u.session, digest[:])
}

// point is the CKA_EC_POINT of the public key without its DER header.
func (u *user) point(label string, size int) []byte {
	u.t.Helper()
	public := u.find(pkcs11.CKO_PUBLIC_KEY, label)
	if len(public) != 1 {
		u.t.Fatalf("%d public keys %q", len(public), label)
	}
	a, err := u.ctx.GetAttributeValue(u.session, public[0], []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil)})
	if err != nil {
		u.t.Fatal(err)
	}
	return a[0].Value[len(a[0].Value)-size:]
}

// verifiesP256 reports whether sig, r and s, is the key's signature of digest.
func (u *user) verifiesP256(label string, sig []byte) bool {
	u.t.Helper()
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), u.point(label, 65))
	if err != nil {
		u.t.Fatal(err)
	}
	return ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
}

// mustSignP256 signs with the key and verifies.
func (u *user) mustSignP256(label string) {
	u.t.Helper()
	sig, err := u.sign(u.key(label), pkcs11.CKM_ECDSA)
	if err != nil {
		u.t.Fatalf("sign with %s: %v", label, err)
	}
	if !u.verifiesP256(label, sig) {
		u.t.Fatalf("%s: the signature does not verify", label)
	}
}

// mustSignEd25519 is mustSignP256 for the other algorithm.
func (u *user) mustSignEd25519(label string) {
	u.t.Helper()
	sig, err := u.sign(u.key(label), ckmEDDSA)
	if err != nil {
		u.t.Fatalf("sign with %s: %v", label, err)
	}
	if !ed25519.Verify(u.point(label, 32), digest[:], sig) {
		u.t.Fatalf("%s: the signature does not verify", label)
	}
}

// wantRV fails the test unless err is that CK_RV.
func wantRV(t testing.TB, err error, rv uint) {
	t.Helper()
	var got pkcs11.Error
	if !errors.As(err, &got) || uint(got) != rv {
		t.Fatalf("got %v, want %#x", err, rv)
	}
}
