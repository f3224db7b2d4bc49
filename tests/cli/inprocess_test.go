package cli_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/cmd/cap/cli"
)

// capRun runs cap inside the test and returns what it printed and its status.
func capRun(ctx context.Context, stdin io.Reader, args ...string) (stdout, stderr string, status int) {
	var out, errs bytes.Buffer
	status = cli.Run(ctx, args, stdin, &out, &errs)
	return out.String(), errs.String(), status
}

func TestInterruptInFlightLeavesTheOutcomeUnknown(t *testing.T) {
	server := startBroker(t)
	stopWorker(t, startWorker(t, server, "idle", newKeys(t, "idle-key", capsign.Ed25519, 1)))
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	// Ctrl-C once the request is on the queue, where no worker takes it.
	nc := connect(t, server)
	queued, err := nc.SubscribeSync("cap.job.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	go func() {
		if _, err := queued.NextMsgWithContext(t.Context()); err == nil {
			interrupt()
		}
	}()
	stdout, stderr, status := capRun(ctx, strings.NewReader("message"), "keys", "sign", "--in", "-", "--nats", server.URL())
	if status != 7 || stdout != "" {
		t.Errorf("status %d, stdout %q, stderr %q; want 7 and no output", status, stdout, stderr)
	}
}

func TestInterruptBeforeARequestIs130(t *testing.T) {
	silent, _ := io.Pipe()
	for _, json := range []bool{false, true} {
		ctx, interrupt := context.WithCancel(t.Context())
		args := []string{"keys", "sign", "--in", "-"}
		want := ""
		if json {
			args, want = append(args, "--json"), `{"code":"interrupted","message":"Interrupted."}`+"\n"
		}
		reading := readNotice{silent, interrupt}
		stdout, stderr, status := capRun(ctx, reading, args...)
		if status != 130 || stdout != want || stderr != "cap: keys sign: Interrupted. (interrupted)\n" {
			t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
		}
	}
}

func TestABugExitsWith70(t *testing.T) {
	faulty := readNotice{nil, func() { panic("boom") }}
	stdout, stderr, status := capRun(t.Context(), faulty, "keys", "sign", "--in", "-", "--json")
	if status != 70 || !strings.HasPrefix(stdout, `{"code":"internal",`) {
		t.Errorf("status %d, stdout %q", status, stdout)
	}
	if !strings.HasPrefix(stderr, "cap: An unexpected error occurred; this is a bug. (internal)\nhint: ") {
		t.Errorf("stderr %q", stderr)
	}
}

// readNotice is an input that calls notice before it is read from.
type readNotice struct {
	io.Reader
	notice func()
}

// Read calls notice and reads.
func (r readNotice) Read(p []byte) (int, error) {
	r.notice()
	return r.Reader.Read(p)
}

func TestEndlessInputIsReadToTheLimitOnly(t *testing.T) {
	var endless zeros
	_, stderr, status := capRun(t.Context(), &endless, "keys", "sign", "--in", "-")
	if status != 2 || !strings.Contains(stderr, "(too_large)") {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
	if endless.read > capsign.MaxMessageSize+1 {
		t.Errorf("read %d bytes, want at most the limit and one", endless.read)
	}
}

// zeros is an input without end that counts what was read of it.
type zeros struct{ read int64 }

// Read fills p.
func (z *zeros) Read(p []byte) (int, error) {
	clear(p)
	z.read += int64(len(p))
	return len(p), nil
}

func TestAnyFlippedBitIsRefused(t *testing.T) {
	dir := t.TempDir()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t, public)
	ring, err := key.JWK()
	if err != nil {
		t.Fatal(err)
	}
	msg := []byte("flip me")
	sig := ed25519.Sign(private, msg)
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	verify := func(msg, sig []byte) int {
		_, _, status := capRun(t.Context(), nil, "verify-signature", "--in", write("msg", msg), "--sig", write("sig", sig),
			"--kid", key.KID, "--keyring", write("ring", ring))
		return status
	}
	if status := verify(msg, sig); status != 0 {
		t.Fatalf("untouched: status %d", status)
	}
	for bit := range 8 * len(msg) {
		if status := verify(flipped(msg, bit), sig); status != 1 {
			t.Errorf("message, bit %d: status %d", bit, status)
		}
	}
	for bit := 0; bit < 8*len(sig); bit += 7 { // at least one in each byte
		if status := verify(msg, flipped(sig, bit)); status != 1 {
			t.Errorf("signature, bit %d: status %d", bit, status)
		}
	}
}

// newKey returns a key version of a public key.
func newKey(t *testing.T, public ed25519.PublicKey) capsign.Key {
	t.Helper()
	spki, err := capsign.MarshalPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	key, err := capsign.NewKey(capsign.Ed25519, spki, capsign.ProviderSoftware, "test-key")
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// flipped returns data with one bit changed.
func flipped(data []byte, bit int) []byte {
	changed := bytes.Clone(data)
	changed[bit/8] ^= 1 << (bit % 8)
	return changed
}
