// Command kmsserver serves a key management service of the project's own, with
// Google Cloud KMS's interface and one key, for trying out the provider
// cloudkms without a cloud. It asks nobody who they are and keeps its key in a
// plain file: nothing that matters may be signed with it.
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/renameio/v2"

	"github.com/capsign/cap/internal/kmstest/gcp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "kmsserver: %v\n", err)
		os.Exit(1) //nolint:gocritic // stop only tidies up
	}
}

// run parses the command line and serves until ctx ends.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("kmsserver", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:7443", "serve on `ADDR:PORT`, without TLS: keep to loopback")
	name := flags.String("key", "cap-signer", "serve one key, `NAME`")
	file := flags.String("file", "kms-key.pem", "keep the key in `FILE`, which is made where it is missing")
	service := flags.Duration("service-time", 20*time.Millisecond, "let each call take so long at least, as a cloud does")
	if err := flags.Parse(args); err != nil {
		return err
	}
	key, err := openKey(*file)
	if err != nil {
		return err
	}
	server, err := gcp.Start(gcp.Options{Addr: *listen, Plaintext: true, ServiceTime: *service})
	if err != nil {
		return err
	}
	if _, err := server.AddKey(*name, gcp.P256, key); err != nil {
		return errors.Join(err, server.Close())
	}
	fmt.Fprintf(stdout, "serving project %s, location %s, key ring %s, key %s on %s\n",
		gcp.Project, gcp.Location, gcp.KeyRing, *name, server.Endpoint)
	<-ctx.Done()
	return server.Close()
}

// openKey returns the P-256 key in a file, made where there is none: the key
// stays the same, and with it the kid, when the server is started again.
func openKey(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("the key file holds no PEM block")
	}
	return x509.ParseECPrivateKey(block.Bytes)
}

// makeKey makes a key and keeps it in a file, whole or not at all.
func makeKey(path string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	return key, renameio.WriteFile(path, text, 0o600)
}
