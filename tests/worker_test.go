package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/capsign/cap/capsign"
)

// embedded is a running worker that brought its broker along.
type embedded struct {
	t       *testing.T
	process *exec.Cmd
	log     *bytes.Buffer
	url     string
}

// startIn starts such a worker on a data directory and a free port.
func startIn(t *testing.T, data string) *embedded {
	t.Helper()
	w := &embedded{t: t, log: new(bytes.Buffer)}
	w.process = exec.Command(filepath.Join(commands(t), "worker"), "--listen", "127.0.0.1:0", "--data", data)
	w.process.Stderr = w.log
	stdout, err := w.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.process.Process.Kill() })
	line := make([]byte, 200)
	n, err := stdout.Read(line)
	url, found := strings.CutPrefix(strings.TrimSpace(string(line[:n])), "listening on ")
	if err != nil || !found {
		t.Fatalf("the worker says %q: %v\n%s", line[:n], err, w.log)
	}
	w.url = url
	return w
}

// stop ends the worker as an operator would and returns what it logged.
func (w *embedded) stop() string {
	w.t.Helper()
	if err := w.process.Process.Signal(syscall.SIGTERM); err != nil {
		w.t.Fatal(err)
	}
	if err := w.process.Wait(); err != nil {
		w.t.Errorf("after SIGTERM: %v\n%s", err, w.log)
	}
	return w.log.String()
}

// cap runs the cap command in dir and returns its output and exit status.
func runCap(t *testing.T, dir string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(filepath.Join(commands(t), "cap"), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	if err := cmd.Run(); err != nil {
		if _, exited := errors.AsType[*exec.ExitError](err); !exited {
			t.Fatal(err)
		}
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// currentKID is what cap says of the pool whose data directory is dir/data.
func currentKID(t *testing.T, dir string) string {
	t.Helper()
	out, errs, status := runCap(t, dir, "keys", "info", "--json")
	var info struct {
		CurrentKID string `json:"current_kid"`
	}
	if err := json.Unmarshal([]byte(out), &info); err != nil || status != 0 {
		t.Fatalf("keys info: status %d, %v: %s%s", status, err, out, errs)
	}
	return info.CurrentKID
}

func TestWorkerWithoutArgumentsIsAWholeInstallation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	worker := startIn(t, data)
	if err := os.WriteFile(filepath.Join(dir, "msg"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs, status := runCap(t, dir, "keys", "sign", "--in", "msg", "--out", "sig"); status != 0 {
		t.Fatalf("keys sign: status %d: %s", status, errs)
	}
	if _, errs, status := runCap(t, dir, "keys", "export", "--out", "pub.pem"); status != 0 {
		t.Fatalf("keys export: status %d: %s", status, errs)
	}
	openssl := exec.Command("openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "pub.pem", "-in", "msg", "-sigfile", "sig")
	openssl.Dir = dir
	if out, err := openssl.CombinedOutput(); err != nil {
		t.Errorf("openssl: %v\n%s", err, out)
	}
	for _, private := range []string{data, filepath.Join(data, "keys"), filepath.Join(data, "keys", "cap-signing.1.pem"), filepath.Join(data, "client.json")} {
		info, err := os.Stat(private)
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			t.Errorf("%s has mode %o", private, mode)
		}
	}
	if log := worker.stop(); !strings.Contains(log, "sign_with=") || !strings.Contains(log, "msg=ready") {
		t.Errorf("the log does not say how to sign:\n%s", log)
	}
}

func TestKIDOutlivesRestartsCopiesAndReencoding(t *testing.T) {
	t.Parallel()
	first := t.TempDir()
	worker := startIn(t, filepath.Join(first, "data"))
	kid := currentKID(t, first)
	worker.stop()

	worker = startIn(t, filepath.Join(first, "data"))
	if again := currentKID(t, first); again != kid {
		t.Errorf("after a restart %s, before %s", again, kid)
	}
	worker.stop()

	second := t.TempDir()
	if err := os.CopyFS(filepath.Join(second, "data"), os.DirFS(filepath.Join(first, "data"))); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(second, "data", "keys", "cap-signing.1.pem")
	reencoded := filepath.Join(second, "reencoded")
	if out, err := exec.Command("openssl", "pkcs8", "-topk8", "-nocrypt", "-in", key, "-outform", "DER", "-out", reencoded).CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	if err := os.Rename(reencoded, key); err != nil {
		t.Fatal(err)
	}
	// A copy is made with the modes that the copier's umask gives.
	for _, path := range []string{filepath.Join(second, "data"), filepath.Join(second, "data", "keys")} {
		if err := os.Chmod(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	worker = startIn(t, filepath.Join(second, "data"))
	if copied := currentKID(t, second); copied != kid {
		t.Errorf("copied and re-encoded %s, before %s", copied, kid)
	}
	worker.stop()
}

func TestWorkerThatCannotStartSaysWhy(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := filepath.Join(t.TempDir(), "data")
	startIn(t, busy)
	config := filepath.Join(t.TempDir(), "key.yaml")
	if err := os.WriteFile(config, []byte("key:\n  provider: softwre\n  software:\n    alg: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		want int
		says string
	}{
		"unknown flag":          {[]string{"--bogus"}, 2, "hint: run 'worker --help'"},
		"argument":              {[]string{"now"}, 2, "hint: run 'worker --help'"},
		"two brokers":           {[]string{"--nats", "nats://127.0.0.1:1", "--listen", "127.0.0.1:0"}, 2, "exclude one another"},
		"no broker":             {[]string{"--nats", "nats://127.0.0.1:1"}, 9, string(capsign.BrokerUnreachable)},
		"no config file":        {[]string{"--config", "missing.yaml"}, 8, "does not exist"},
		"two config faults":     {[]string{"--config", config}, 8, "2 faults"},
		"open to the world":     {[]string{"--listen", "0.0.0.0:0"}, 8, "loopback"},
		"address taken":         {[]string{"--listen", taken.Addr().String()}, 8, "address is taken"},
		"data directory in use": {[]string{"--listen", "127.0.0.1:0", "--data", busy}, 8, string(capsign.DataDirInUse)},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			worker := exec.CommandContext(ctx, filepath.Join(commands(t), "worker"), tc.args...)
			worker.Dir = t.TempDir()
			out, _ := worker.CombinedOutput()
			if status := worker.ProcessState.ExitCode(); status != tc.want || !strings.Contains(string(out), tc.says) {
				t.Errorf("status %d, want %d and %q:\n%s", status, tc.want, tc.says, out)
			}
			if strings.Contains(string(out), "goroutine ") {
				t.Errorf("a stack trace:\n%s", out)
			}
		})
	}
}

func TestUnsafeKeyFileIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	startIn(t, filepath.Join(dir, "data")).stop()
	if err := os.Chmod(filepath.Join(dir, "data", "keys", "cap-signing.1.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	worker := exec.Command(filepath.Join(commands(t), "worker"), "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data"))
	out, _ := worker.CombinedOutput()
	if status := worker.ProcessState.ExitCode(); status != 8 || !strings.Contains(string(out), string(capsign.KeyFileUnsafe)) {
		t.Errorf("status %d:\n%s", status, out)
	}
}

func TestAuditLogOfAWorkerIsChecked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	worker := startIn(t, data)
	if err := os.WriteFile(filepath.Join(dir, "msg"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, errs, status := runCap(t, dir, "keys", "sign", "--in", "msg", "--out", "sig"); status != 0 {
			t.Fatalf("keys sign: status %d: %s", status, errs)
		}
	}
	worker.stop()
	verify := func() (string, int) {
		cmd := exec.Command(filepath.Join(commands(t), "worker"), "audit", "verify", "--data", data)
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, status := verify(); status != 0 || !strings.HasPrefix(out, "3 records") {
		t.Errorf("status %d: %s", status, out)
	}
	logs, err := filepath.Glob(filepath.Join(data, "audit", "*.jsonl"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no audit log: %v", err)
	}
	text, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("hello")) || bytes.Contains(text, []byte("aGVsbG8")) {
		t.Error("the audit log holds the message")
	}
	if err := os.WriteFile(logs[0], bytes.Replace(text, []byte(`"items":1`), []byte(`"items":2`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, status := verify(); status != 10 || !strings.Contains(out, "after record 1") {
		t.Errorf("after tampering: status %d: %s", status, out)
	}
}
