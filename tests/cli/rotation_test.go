package cli_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/queue"
	"github.com/capsign/cap/internal/rotation"
)

// site VARIABLE POOL… sets a variable to a broker of the script's own, since
// there is one keyring on each. Its pools' workers may make key versions; each
// pool's key is called like the pool, with -key behind it.
func site(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < 1 {
			ts.Fatalf("usage: site VARIABLE POOL…")
		}
		server := startBroker(t)
		nc := connect(t, server)
		for _, pool := range args[1:] {
			provider := newKeys(t, pool+"-key", capsign.Ed25519, 1)
			run(t, nc, queue.Config{
				Pool: pool, Provider: capsign.ProviderSoftware, Signer: provider, Keys: keysOf(t, provider),
				Versions: provider, AllowGenerate: true,
			})
		}
		ts.Setenv(args[0], server.URL())
	}
}

// rootkey FILE PASSPHRASE makes a root key file that opens fast.
func rootKey(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: rootkey FILE PASSPHRASE")
	}
	_, err := rotation.CreateRootFile(ts.MkAbs(args[0]), []byte(args[1]), 8)
	ts.Check(err)
}

// pass TIME waits until the time has passed.
func pass(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: pass TIME")
	}
	at, err := time.Parse(time.RFC3339, args[0])
	ts.Check(err)
	time.Sleep(time.Until(at))
}

// edit URL KEY FILE puts a file into the broker's keyrings under a key, as
// whoever may write there could; without FILE it purges the bucket.
func edit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) == 2 || len(args) > 3 {
		ts.Fatalf("usage: edit URL [KEY FILE]")
	}
	nc, err := nats.Connect(args[0])
	ts.Check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if len(args) == 1 {
		stream, err := js.Stream(ctx, "KV_"+capsign.KeyringBucket)
		ts.Check(err)
		ts.Check(stream.Purge(ctx))
		return
	}
	kv, err := js.KeyValue(ctx, capsign.KeyringBucket)
	ts.Check(err)
	data, err := os.ReadFile(ts.MkAbs(args[2]))
	ts.Check(err)
	_, err = kv.Put(ctx, args[1], []byte(strings.TrimSpace(string(data))))
	ts.Check(err)
}
