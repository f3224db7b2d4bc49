package capsign_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/capsign/capsigntest"
)

// algs are what a software pool signs with.
var algs = []capsign.Alg{capsign.Ed25519, capsign.ES256}

func TestSignerSignsACertificate(t *testing.T) {
	for _, alg := range algs {
		t.Run(string(alg), func(t *testing.T) {
			pool := capsigntest.Config{Alg: alg}.NewPool(t)
			signer, err := pool.Client(t).Signer(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			template := &x509.Certificate{
				SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cap"}, IsCA: true, BasicConstraintsValid: true,
				NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
			}
			der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
			if err != nil {
				t.Fatal(err)
			}
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			if err := cert.CheckSignatureFrom(cert); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSignerSignsAJWT(t *testing.T) {
	b64 := base64.RawURLEncoding.EncodeToString
	pool := capsigntest.NewPool(t)
	signer, err := pool.Client(t).Signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	input := b64([]byte(`{"alg":"EdDSA","kid":"`+signer.KID()+`"}`)) + "." + b64([]byte(`{"sub":"release"}`))
	// As JWT libraries call it: a crypto.Signer, with hash 0 for Ed25519.
	sig, err := crypto.Signer(signer).Sign(rand.Reader, []byte(input), crypto.Hash(0))
	if err != nil {
		t.Fatal(err)
	}
	token := input + "." + b64(sig)
	signed, mac, _ := strings.Cut(token[len(strings.SplitN(token, ".", 2)[0])+1:], ".")
	raw, err := base64.RawURLEncoding.DecodeString(mac)
	if err != nil || signed == "" || !ed25519.Verify(signer.Public().(ed25519.PublicKey), []byte(input), raw) {
		t.Errorf("the token does not verify: %v", err)
	}
}

func TestSignerRefusesWhatTheKeyDoesNotDo(t *testing.T) {
	pool := capsigntest.Config{Alg: capsign.ES256}.NewPool(t)
	signer, err := pool.Client(t).Signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signer.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); codeOf(err) != capsign.UnsupportedScheme {
		t.Errorf("a digest: %v", err)
	}
	if _, err := signer.SignMessage(rand.Reader, []byte("m"), crypto.SHA512); codeOf(err) != capsign.UnsupportedAlg {
		t.Errorf("another hash: %v", err)
	}
}

func TestClientFindsItsKey(t *testing.T) {
	pool := capsigntest.Config{Name: "release", KeyName: "artifact key"}.NewPool(t)
	missing := strings.Repeat("ab", 32)
	for name, tc := range map[string]struct {
		cfg  capsign.ClientConfig
		want capsign.Code
	}{
		"nothing said":   {capsign.ClientConfig{}, ""},
		"by pool":        {capsign.ClientConfig{Pool: "release"}, ""},
		"by key":         {capsign.ClientConfig{Key: "artifact key"}, ""},
		"by kid":         {capsign.ClientConfig{KID: pool.Key.KID}, ""},
		"by fingerprint": {capsign.ClientConfig{KID: pool.Key.SPKISHA256()}, ""},
		"by thumbprint":  {capsign.ClientConfig{KID: pool.Key.Thumbprint()}, ""},
		"other pool":     {capsign.ClientConfig{Pool: "default"}, capsign.PoolUnknown},
		"other key":      {capsign.ClientConfig{Key: "cap-signing"}, capsign.KeyUnknown},
		"other kid":      {capsign.ClientConfig{KID: missing}, capsign.KIDUnknown},
		"kid elsewhere":  {capsign.ClientConfig{KID: pool.Key.KID, Pool: "default"}, capsign.KIDUnknown},
		"bad tenant":     {capsign.ClientConfig{Tenant: "a.b"}, capsign.BadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := capsign.NewClient(t.Context(), pool.Conn, tc.cfg)
			if codeOf(err) != tc.want {
				t.Fatalf("error %v, want %q", err, tc.want)
			}
			if err != nil {
				return
			}
			defer client.Close()
			signed, err := client.Sign(t.Context(), []byte("hello"))
			if err != nil || signed.KID != pool.Key.KID {
				t.Errorf("signed by %q: %v", signed.KID, err)
			}
		})
	}
}

func TestNoPoolAtAll(t *testing.T) {
	pool := capsigntest.NewPool(t)
	if err := pool.Conn.Publish("$JS.API.STREAM.DELETE.KV_CAP_POOLS", nil); err != nil {
		t.Fatal(err)
	}
	if err := pool.Conn.Flush(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := capsign.NewClient(ctx, pool.Conn, capsign.ClientConfig{}); codeOf(err) != capsign.PoolUnknown {
		t.Errorf("error %v, want %s", err, capsign.PoolUnknown)
	}
}

func TestMessagesAtTheLimit(t *testing.T) {
	pool := capsigntest.NewPool(t)
	client := pool.Client(t)
	for _, n := range []int{0, 1, capsign.MaxMessageSize} {
		msg := bytes.Repeat([]byte{7}, n)
		signed, err := client.Sign(t.Context(), msg)
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if err := pool.Key.Verify(msg, signed.Bytes); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := client.Sign(t.Context(), make([]byte, capsign.MaxMessageSize+1)); codeOf(err) != capsign.TooLarge {
		t.Errorf("one byte over: %v", err)
	}
}

func TestSignAllPacksByCountAndSize(t *testing.T) {
	pool := capsigntest.NewPool(t)
	client, err := capsign.NewClient(t.Context(), pool.Conn, capsign.ClientConfig{Pack: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	sizes := slices.Concat(slices.Repeat([]int{10}, 250), []int{400 << 10, 400 << 10, capsign.MaxMessageSize, capsign.MaxMessageSize + 1, 3})
	items := func(yield func(capsign.Item) bool) {
		for i, n := range sizes {
			if !yield(capsign.Item{Ref: fmt.Sprint(i), Message: bytes.Repeat([]byte{byte(i)}, n)}) {
				return
			}
		}
	}
	i := 0
	for signed, err := range client.SignAll(t.Context(), items) {
		tooLarge := sizes[i] > capsign.MaxMessageSize
		if signed.Ref != fmt.Sprint(i) || tooLarge != (codeOf(err) == capsign.TooLarge) || !tooLarge && err != nil {
			t.Fatalf("item %d of %d bytes: ref %q, error %v", i, sizes[i], signed.Ref, err)
		}
		if !tooLarge && pool.Key.Verify(bytes.Repeat([]byte{byte(i)}, sizes[i]), signed.Bytes) != nil {
			t.Errorf("item %d does not verify", i)
		}
		i++
	}
	if i != len(sizes) {
		t.Errorf("%d outcomes for %d items", i, len(sizes))
	}
}

func TestSignAllEndsEarly(t *testing.T) {
	client := capsigntest.NewPool(t).Client(t)
	endless := func(yield func(capsign.Item) bool) {
		for yield(capsign.Item{Message: []byte("again")}) {
		}
	}
	n := 0
	for _, err := range client.SignAll(t.Context(), endless) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 1000 {
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range client.SignAll(ctx, endless) {
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("after cancellation: %v", err)
		}
	}
}

func TestKeyringFromABrokerAndAFile(t *testing.T) {
	for _, alg := range algs {
		pool := capsigntest.Config{Alg: alg, KeyName: "clé"}.NewPool(t)
		signed, err := pool.Client(t).Sign(t.Context(), []byte("hello"))
		if err != nil {
			t.Fatal(err)
		}
		fetched, err := capsign.FetchKeySet(t.Context(), pool.Conn)
		if err != nil {
			t.Fatal(err)
		}
		set, err := fetched.JWKS()
		if err != nil {
			t.Fatal(err)
		}
		read, err := capsign.ParseKeySet(set)
		if err != nil {
			t.Fatal(err)
		}
		for _, ring := range []*capsign.KeySet{fetched, read} {
			if err := ring.Verify(signed.KID, []byte("hello"), signed.Bytes); err != nil {
				t.Error(err)
			}
			if err := ring.Verify(signed.KID, []byte("hellp"), signed.Bytes); codeOf(err) != capsign.SignatureInvalid {
				t.Errorf("another message: %v", err)
			}
			if err := ring.Verify(strings.Repeat("0", 64), []byte("hello"), signed.Bytes); codeOf(err) != capsign.KIDUnknown {
				t.Errorf("another kid: %v", err)
			}
		}
		swapped := strings.Replace(string(set), `"cap_key_name": "clé"`, `"cap_key_name": "cap-signing"`, 1)
		if _, err := capsign.ParseKeySet([]byte(swapped)); codeOf(err) != capsign.Integrity {
			t.Errorf("a key under another kid: %v", err)
		}
	}
}

func TestPoisonedKeyRecordsAreLeftOut(t *testing.T) {
	pool := capsigntest.NewPool(t)
	record, err := pool.Key.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, poison := range []string{"", "{", strings.Replace(string(record), "cap-signing", "other", 1)} {
		kid := strings.Repeat("f", 64)
		if err := pool.Conn.Publish("$KV.CAP_KEYS."+kid, []byte(poison)); err != nil {
			t.Fatal(err)
		}
	}
	ring, err := capsign.FetchKeySet(t.Context(), pool.Conn)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(ring.Keys()); n != 1 {
		t.Errorf("%d keys, want the worker's one", n)
	}
}

func FuzzParseKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA","kid":"","alg":"EdDSA","use":"sig","cap_provider":"software","cap_key_name":"k"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		ring, err := capsign.ParseKeySet(data)
		if err != nil {
			if !codeOf(err).Known() {
				t.Fatalf("error without a code: %v", err)
			}
			return
		}
		for _, key := range ring.Keys() {
			if kid, err := capsign.KID(key.SPKI, key.Provider, key.Name); err != nil || kid != key.KID {
				t.Fatalf("kid %s is not its own: %v", key.KID, err)
			}
		}
	})
}
