package capsign_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/capsign/capsigntest"
)

// newClient returns a client of a pool that lasts as long as an example.
func newClient(ctx context.Context) (_ *capsign.Client, done func()) {
	pool, err := capsigntest.Start(ctx, capsigntest.Config{})
	if err != nil {
		panic(err)
	}
	client, err := capsign.NewClient(ctx, pool.Conn, capsign.ClientConfig{Pool: "default"})
	if err != nil {
		panic(err)
	}
	return client, func() {
		client.Close()
		if err := pool.Close(); err != nil {
			panic(err)
		}
	}
}

func ExampleClient_Sign() {
	ctx := context.Background()
	client, done := newClient(ctx)
	defer done()

	signed, err := client.Sign(ctx, []byte("hello"))
	if err != nil {
		panic(err)
	}
	fmt.Println(signed.Alg, len(signed.Bytes), "bytes")
	// Output: Ed25519 64 bytes
}

func ExampleClient_SignAll() {
	ctx := context.Background()
	client, done := newClient(ctx)
	defer done()

	items := func(yield func(capsign.Item) bool) {
		for _, name := range []string{"app.tar.gz", "app.rpm", "app.deb"} {
			if !yield(capsign.Item{Ref: name, Message: []byte("contents of " + name)}) {
				return
			}
		}
	}
	for signed, err := range client.SignAll(ctx, items) {
		if err != nil {
			panic(err)
		}
		fmt.Println(signed.Ref, len(signed.Bytes), "bytes")
	}
	// Output:
	// app.tar.gz 64 bytes
	// app.rpm 64 bytes
	// app.deb 64 bytes
}

func ExampleClient_Signer() {
	ctx := context.Background()
	client, done := newClient(ctx)
	defer done()

	signer, err := client.Signer(ctx)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	fmt.Println(cert.SignatureAlgorithm)
	// Output: Ed25519
}

func ExampleKeySet_Verify() {
	// A JSON Web Key Set, as "cap keys export --format jwks" writes it.
	keyring, err := capsign.ParseKeySet([]byte(`{"keys":[{
		"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
		"kid":"a721abd41acea0343bb4f30f399d71b185727f21aca9642f30078a7adbe4b77d",
		"alg":"EdDSA","use":"sig","cap_provider":"software","cap_key_name":"cap-signing"}]}`))
	if err != nil {
		panic(err)
	}
	kid := keyring.Keys()[0].KID
	err = keyring.Verify(kid, []byte("hello"), make([]byte, 64))
	code, _ := errors.AsType[capsign.Code](err)
	fmt.Println(code, "-", code.Sentence())
	// Output: signature_invalid - The signature does not belong to this message and key.
}
