package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/broker/embedded"
	"github.com/capsign/cap/internal/deadletter"
	"github.com/capsign/cap/internal/providers/software"
	"github.com/capsign/cap/internal/queue"
)

// startLetters starts a broker whose pool default signs and has dead letters, and
// returns its URL:
//
//	1  a request for two items that ran out of tries
//	2  what was no request
//	3  junk that no worker wrote
//	4  a request for one item that ran out of tries
//	5  a request of the pool gone, of which nothing is left
//	6  a request whose subject was exchanged for that of another key
func startLetters(t *testing.T) string {
	t.Helper()
	server := startBroker(t)
	startWorker(t, server, "default", newKeys(t, "cap-signing", capsign.Ed25519, 1))
	js, err := jetstream.New(connect(t, server))
	if err != nil {
		t.Fatal(err)
	}
	const subject = "cap.job.local.default.bulk.cap-signing"
	two, one := givenUp(t, "default", 1, []byte("one"), []byte("two")), givenUp(t, "default", 2, []byte("hello"))
	gone := givenUp(t, "gone", 3, []byte("hello"))
	keepLetter(t, js, "default", subject, capsign.RetriesExhausted, two)
	keepLetter(t, js, "default", subject, capsign.BadRequest, []byte("{"))
	if _, err := js.Publish(t.Context(), deadletter.Subject("default"), []byte("\x1b[2Jjunk")); err != nil {
		t.Fatal(err)
	}
	keepLetter(t, js, "default", strings.Replace(subject, "bulk", "express", 1), capsign.RetriesExhausted, one)
	keepLetter(t, js, "gone", strings.Replace(subject, "default", "gone", 1), capsign.RetriesExhausted, gone)
	keepLetter(t, js, "default", subject+"-root", capsign.RetriesExhausted, one)
	return server.URL()
}

// givenUp returns the body of a request.
func givenUp(t *testing.T, pool string, n uint64, items ...[]byte) []byte {
	t.Helper()
	req := capsign.Request{
		V: capsign.Version, ID: capsign.RequestID("AAAAAAAAAAAAAAAAAAAAAA", n), Expires: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		Tenant: capsign.TenantLocal, Pool: pool, Key: "cap-signing", Scheme: capsign.SchemeRaw, Items: items,
	}
	body, err := req.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// keepLetter keeps a letter as a worker would.
func keepLetter(t *testing.T, js jetstream.JetStream, pool, subject string, code capsign.Code, body []byte) {
	t.Helper()
	req, _ := capsign.DecodeRequest(body)
	letter := deadletter.New(subject, req.ID, body, code, 11)
	if err := deadletter.Keep(t.Context(), js, pool, fmt.Sprint(subject, len(body)), letter, body); err != nil {
		t.Fatal(err)
	}
}

// brokenProvider fails until it is mended; canaries are signed meanwhile.
type brokenProvider struct {
	*software.Provider
	mended *atomic.Bool
	signed *atomic.Int64
}

// Sign signs, or fails.
func (b brokenProvider) Sign(ctx context.Context, kid string, msg []byte) (capsign.Signature, error) {
	if bytes.HasPrefix(msg, []byte("artifact")) {
		if !b.mended.Load() {
			return capsign.Signature{}, capsign.ProviderTimeout
		}
		b.signed.Add(1)
	}
	return b.Provider.Sign(ctx, kid, msg)
}

// startBrokenPool serves a pool that gives up after two tries until its provider
// is mended.
func startBrokenPool(t *testing.T, server *embedded.Server) brokenProvider {
	t.Helper()
	broken := brokenProvider{newKeys(t, "cap-signing", capsign.Ed25519, 1), new(atomic.Bool), new(atomic.Int64)}
	run(t, connect(t, server), queue.Config{
		Pool: "default", Provider: capsign.ProviderSoftware, Signer: broken, Keys: keysOf(t, broken.Provider), MaxDeliveries: 2,
	})
	return broken
}

// TestRequestThatRanOutOfTriesIsReplayed goes the whole way: a provider that
// fails, a request that is given up, its letter, the mended provider, and the
// signature.
func TestRequestThatRanOutOfTriesIsReplayed(t *testing.T) {
	server := startBroker(t)
	provider := startBrokenPool(t, server)
	at := []string{"--nats", server.URL(), "--json"}
	stdout, _, status := capRun(t.Context(), strings.NewReader("artifact"), append([]string{"keys", "sign", "--in", "-"}, at...)...)
	if status != 6 || !strings.Contains(stdout, `"retries_exhausted"`) {
		t.Fatalf("status %d, stdout %q; want a request that ran out of tries", status, stdout)
	}
	letters := listLetters(t, at)
	if len(letters) != 1 || letters[0].Code != capsign.RetriesExhausted || letters[0].Items != 1 {
		t.Fatalf("letters %+v", letters)
	}
	replay := append([]string{"dead", "replay", "--all", "--code", "retries_exhausted"}, at...)
	stdout, stderr, status := capRun(t.Context(), nil, replay...)
	if status != 6 || !strings.Contains(stdout, `"failed":1`) {
		t.Fatalf("while it is broken: status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
	provider.mended.Store(true)
	stdout, stderr, status = capRun(t.Context(), nil, replay...)
	if status != 0 {
		t.Fatalf("once it is mended: status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
	checkReplays(t, stdout, keysOf(t, provider.Provider)[0])
	if n := provider.signed.Load(); n != 1 {
		t.Errorf("signed %d times, want once: the request and its replay each had a letter", n)
	}
	if letters := listLetters(t, at); len(letters) != 0 {
		t.Errorf("letters %+v are left", letters)
	}
}

// listedLetter is what the test reads of a listed letter.
type listedLetter struct {
	Code  capsign.Code
	Items int
}

// listLetters runs "cap dead list".
func listLetters(t *testing.T, at []string) []listedLetter {
	t.Helper()
	stdout, stderr, status := capRun(t.Context(), nil, append([]string{"dead", "list"}, at...)...)
	if status != 0 {
		t.Fatalf("status %d, stderr %q", status, stderr)
	}
	var list struct{ Letters []listedLetter }
	if err := json.Unmarshal([]byte(stdout), &list); err != nil {
		t.Fatal(err)
	}
	return list.Letters
}

// checkReplays verifies the signatures that a replay printed.
func checkReplays(t *testing.T, stdout string, key capsign.Key) {
	t.Helper()
	var done struct {
		Letters []struct {
			KID              string
			Outcomes         []capsign.Outcome
			Earlier, Dropped bool
		}
		Replayed int
	}
	if err := json.Unmarshal([]byte(stdout), &done); err != nil {
		t.Fatal(err)
	}
	if done.Replayed != 2 || len(done.Letters) != 2 || done.Letters[0].Earlier || !done.Letters[1].Earlier {
		t.Fatalf("%s", stdout)
	}
	for _, letter := range done.Letters {
		if letter.KID != key.KID || !letter.Dropped || len(letter.Outcomes) != 1 {
			t.Errorf("%+v", letter)
		} else if err := key.Verify([]byte("artifact"), letter.Outcomes[0].Signature); err != nil {
			t.Error(err)
		}
	}
	if !bytes.Equal(done.Letters[0].Outcomes[0].Signature, done.Letters[1].Outcomes[0].Signature) {
		t.Error("two signatures of one request")
	}
}

// TestInterruptedReplayLeavesWhatItHasNotTried ends a replay of two letters while
// the first waits for a worker.
func TestInterruptedReplayLeavesWhatItHasNotTried(t *testing.T) {
	server := startBroker(t)
	worker := startWorker(t, server, "idle", newKeys(t, "cap-signing", capsign.Ed25519, 1))
	stopWorker(t, worker)
	nc := connect(t, server)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(2) {
		body := givenUp(t, "idle", n, bytes.Repeat([]byte("x"), int(n)))
		keepLetter(t, js, "idle", "cap.job.local.idle.bulk.cap-signing", capsign.RetriesExhausted, body)
	}
	queued, err := nc.SubscribeSync("cap.job.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	go func() {
		if _, err := queued.NextMsgWithContext(t.Context()); err == nil {
			interrupt()
		}
	}()
	at := []string{"--nats", server.URL(), "--json"}
	stdout, stderr, status := capRun(ctx, nil, append([]string{"dead", "replay", "1", "2"}, at...)...)
	if !slices.Contains([]int{7, 130}, status) || !strings.Contains(stdout, `"letters":[],"replayed":0,"failed":0,"left":2`) {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
	if letters := listLetters(t, at); len(letters) != 2 {
		t.Errorf("%d letters are left, want both", len(letters))
	}
}
