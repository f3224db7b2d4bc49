//go:build cgo

package tests

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/batch"
	"github.com/capsign/cap/internal/providers/pkcs11/p11test"
)

// TestBulkRunOutlivesEveryInterruption signs files through a token, which takes
// its time, while cap is interrupted, cap is killed, and the worker is killed.
func TestBulkRunOutlivesEveryInterruption(t *testing.T) {
	chaos := p11test.WithChaos(t, p11test.SoftHSM(t))
	chaos.Generate(t, capsign.ES256, "cap-signing", "01")
	chaos.Rule(t, "C_Sign delay_ms=3")
	newBulkToken(t, chaos.Token, chaos.Env(), 2000).outlive()
}

// newBulkToken returns a bulk run through a token's worker.
func newBulkToken(t *testing.T, token *p11test.Token, env []string, files int) *bulk {
	t.Helper()
	s := newSite(t)
	s.startServer()
	s.env = append(slices.Clone(env), pinVariable+"="+token.PIN)
	conf := s.writeTokenConfig(token)
	return newBulk(s, files, func() {
		s.runTokenWorker("a", conf)
		s.awaitWorkers(1)
	})
}

// bulk is many files that the cap command signs through the worker called a.
type bulk struct {
	*site
	files       int
	startWorker func()
	nc          *nats.Conn
	released    *releases
	signed      atomic.Int64 // signatures in results that were released
}

// newBulk starts the worker and makes the files.
func newBulk(s *site, files int, startWorker func()) *bulk {
	s.t.Helper()
	startWorker()
	b := &bulk{site: s, files: files, startWorker: startWorker, nc: s.connect()}
	b.released = countReleases(s.t, b.nc)
	if _, err := b.nc.Subscribe("cap.result.>", func(msg *nats.Msg) {
		if res, err := capsign.DecodeResult(msg.Data); err == nil {
			b.signed.Add(int64(len(res.Outcomes)))
		}
	}); err != nil {
		s.t.Fatal(err)
	}
	for i := range files {
		dir := filepath.Join(s.dir, "files", fmt.Sprintf("%02d", i%100))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), fmt.Appendf(nil, "contents of file %d", i), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	return b
}

// outlive signs the files in four parts and checks what came of it.
func (b *bulk) outlive() {
	b.t.Helper()
	began := time.Now()
	b.part(1, func(signing *exec.Cmd) { _ = signing.Process.Signal(syscall.SIGINT) }, 130)
	b.part(2, func(signing *exec.Cmd) { _ = signing.Process.Kill() }, -1)
	b.part(3, func(*exec.Cmd) { b.kill("a"); b.startWorker() }, 0)
	b.t.Logf("%d files in %v", b.files, time.Since(began).Round(10*time.Millisecond))
	b.checkOutcomes()
	b.released.check(b.t)
	b.checkAudit(1)
	if _, err := os.Stat(filepath.Join(b.dir, "results.jsonl.run")); !os.IsNotExist(err) {
		b.t.Errorf("the run's directory is still there: %v", err)
	}
}

// part starts cap, or starts it again, disturbs it once so many fifths of the
// files are signed, and holds the status it ends with against want.
func (b *bulk) part(fifths int, disturb func(signing *exec.Cmd), want int) {
	b.t.Helper()
	log, err := os.OpenFile(filepath.Join(b.dir, "cap.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	defer log.Close()
	signing := exec.Command(filepath.Join(commands(b.t), "cap"), "sign-batch", "--out", "results.jsonl", "--what", "checksum", "--nats", b.url(), "files")
	signing.Dir, signing.Stdout, signing.Stderr = b.dir, log, log
	if err := signing.Start(); err != nil {
		b.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = signing.Wait() }()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for b.signed.Load() < int64(b.files*fifths/5) {
		select {
		case <-tick.C:
		case <-ended:
			b.t.Fatalf("cap ended with %d before it could be disturbed", signing.ProcessState.ExitCode())
		}
	}
	disturb(signing)
	select {
	case <-ended:
	case <-time.After(5 * time.Minute):
		_ = signing.Process.Kill()
		b.t.Fatal("cap does not end")
	}
	if status := signing.ProcessState.ExitCode(); status != want {
		b.t.Errorf("part %d ended with %d, want %d", fifths, status, want)
	}
}

// checkOutcomes says that there is one line for each file, with a signature
// that verifies, and that what was signed is what is noted.
func (b *bulk) checkOutcomes() {
	b.t.Helper()
	keys, err := capsign.FetchKeySet(b.t.Context(), b.nc)
	if err != nil {
		b.t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(b.dir, "results.jsonl"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer file.Close()
	seen, requests := make(map[string]bool), make(map[string]bool)
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		var o batch.Outcome
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			b.t.Fatalf("%v: %s", err, lines.Text())
		}
		if seen[o.Path] || o.Code != "" {
			b.t.Errorf("%s: twice, or refused: %s", o.Path, o.Code)
		}
		contents, err := os.ReadFile(filepath.Join(b.dir, o.Path))
		if err != nil {
			b.t.Fatal(err)
		}
		sum := sha256.Sum256(contents)
		line := hex.EncodeToString(sum[:]) + "  " + o.Path + "\n"
		if err := keys.Verify(o.KID, []byte(line), o.Signature); err != nil || !strings.HasPrefix(line, o.SHA256) {
			b.t.Errorf("%s: %v", o.Path, err)
		}
		seen[o.Path], requests[o.RequestID] = true, true
	}
	if len(seen) != b.files {
		b.t.Errorf("%d outcomes of %d files", len(seen), b.files)
	}
	b.checkOneResultPerRequest(len(requests))
	if n := b.signed.Load(); n != int64(b.files) {
		b.t.Errorf("%d signatures were released for %d files", n, b.files)
	}
	b.t.Logf("%d files in %d requests", len(seen), len(requests))
}
