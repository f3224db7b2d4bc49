package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// binaries builds the commands that the tests run, once.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "cap-deploy-")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator),
		"./cmd/worker", "./cmd/cap", "./deploy/setup", "./tests/kmsserver", "github.com/nats-io/nats-server/v2")
	build.Dir, build.Stderr = root, os.Stderr
	return dir, build.Run()
})

// built says that binaries was called.
var built bool

// TestMain removes what the tests built.
func TestMain(m *testing.M) {
	status := m.Run()
	if built {
		dir, _ := binaries()
		_ = os.RemoveAll(dir)
	}
	os.Exit(status)
}

// command returns the path of a built command.
func command(t *testing.T, name string) string {
	t.Helper()
	built = true
	dir, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// read returns a file's content.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// write writes a file that others on this machine may not read.
func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// runCommand runs a command in a directory, which must succeed, and returns
// what it printed.
func runCommand(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	out, err := tryCommand(t, dir, name, args...)
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", filepath.Base(name), args, err, out)
	}
	return out
}

// tryCommand runs a command in a directory and returns what it printed.
func tryCommand(t *testing.T, dir, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return string(out), err
}

// process is a running command, which ends with the test.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	said *lockedBuffer
	once sync.Once
}

// start starts a command in a directory, with more in its environment.
func start(t *testing.T, dir string, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(command(t, name), args...), said: new(lockedBuffer)}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = dir, append(os.Environ(), env...), p.said, p.said
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s:\n%s", name, p.said)
		}
	})
	return p
}

// kill ends the process as a power cut would and waits for that.
func (p *process) kill() {
	p.once.Do(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	})
}

// lockedBuffer is a buffer that one goroutine fills and another reads.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String returns what was written.
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// eventually calls try until it returns nil, for a minute.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-deadline:
			t.Fatal(err)
		}
	}
}

// loopback returns a URL on this machine.
func loopback(scheme string, port int) string { return fmt.Sprintf("%s://127.0.0.1:%d", scheme, port) }
