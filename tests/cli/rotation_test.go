package cli_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
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
			serveGrowing(t, nc, pool)
		}
		ts.Setenv(args[0], server.URL())
	}
}

// serveGrowing serves a pool whose worker follows the keyring and may make
// versions of its key. One whose name begins with root signs keyrings and
// nothing else.
func serveGrowing(t *testing.T, nc *nats.Conn, pool string) {
	t.Helper()
	provider := newKeys(t, pool+"-key", capsign.Ed25519, 1)
	cfg := queue.Config{
		Pool: pool, Provider: capsign.ProviderSoftware, Signer: provider, Keys: keysOf(t, provider),
		Versions: provider, AllowGenerate: true, Root: strings.HasPrefix(pool, "root"),
	}
	if !cfg.Root {
		follower, err := rotation.Follow(t.Context(), nc, rotation.FollowConfig{
			MarkPath: t.TempDir() + "/keyring.json", MaxStale: time.Minute, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = follower.Close() })
		cfg.Rulings = follower
	}
	run(t, nc, cfg)
}

// startRotten starts a broker with the pool called broken, and with half: the
// newer of its two versions is disabled, and the older one signs.
func startRotten(t *testing.T) string {
	t.Helper()
	server := startBroker(t)
	nc := connect(t, server)
	startBroken(t, nc)
	provider := newKeys(t, "half-key", capsign.Ed25519, 2)
	keys := keysOf(t, provider)
	run(t, nc, queue.Config{
		Pool: "half", Provider: capsign.ProviderSoftware, Keys: keys, Signer: half{
			faulty{provider, map[string]capsign.Code{keys[1].KID: capsign.KeyDisabled}}, keys[0].KID,
		},
	})
	return server.URL()
}

// half is a provider whose older version is current.
type half struct {
	faulty
	kid string
}

// CurrentKID returns the older version.
func (h half) CurrentKID(context.Context) (string, error) { return h.kid, nil }

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

// lighten FILE PASSPHRASE encrypts a root key file anew so that it opens fast.
func lighten(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lighten FILE PASSPHRASE")
	}
	path := ts.MkAbs(args[0])
	identity, err := age.NewScryptIdentity(args[1])
	ts.Check(err)
	content, err := os.ReadFile(path)
	ts.Check(err)
	plain, err := age.Decrypt(armor.NewReader(bytes.NewReader(content)), identity)
	ts.Check(err)
	recipient, err := age.NewScryptRecipient(args[1])
	ts.Check(err)
	recipient.SetWorkFactor(8)
	var file bytes.Buffer
	armored := armor.NewWriter(&file)
	w, err := age.Encrypt(armored, recipient)
	ts.Check(err)
	_, err = io.Copy(w, plain)
	ts.Check(errors.Join(err, w.Close(), armored.Close()))
	ts.Check(os.WriteFile(path, file.Bytes(), 0o600))
}
