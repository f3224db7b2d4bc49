package p11test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// server is a program that runs beside the test, with its children in a process
// group of its own.
type server struct {
	name  string
	args  []string
	env   []string
	log   string        // the path of its output
	group int           // its process group; 0 while it is not running
	done  chan struct{} // closed when it has ended
}

// serve starts a program, which dies with the test, with this process, and with
// kill, whichever is first. Its output is logged if the test fails.
func serve(t testing.TB, env []string, name string, args ...string) *server {
	t.Helper()
	s := &server{name: name, args: args, env: env, log: filepath.Join(t.TempDir(), "log")}
	t.Cleanup(func() {
		s.kill()
		if text, _ := os.ReadFile(s.log); t.Failed() && len(text) > 0 {
			t.Logf("%s wrote:\n%s", s.name, text)
		}
	})
	s.start(t)
	return s
}

// start starts the program again after kill.
func (s *server) start(t testing.TB) {
	t.Helper()
	out, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(s.name, s.args...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)

	started := make(chan error)
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		runtime.LockOSThread() // what it dies with is this thread
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ends is the test's business
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	s.group = cmd.Process.Pid
}

// kill ends the program and its children as a power cut would. It may have
// ended already.
func (s *server) kill() {
	if s.group == 0 {
		return
	}
	_ = syscall.Kill(-s.group, syscall.SIGKILL)
	<-s.done
	s.group = 0
}

// signal sends a signal to the program and its children.
func (s *server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(-s.group, sig); err != nil {
		t.Fatalf("p11test: %v to %s: %v", sig, filepath.Base(s.name), err)
	}
}

// ended reports whether the program has ended by itself.
func (s *server) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// socketDir is a temporary directory with a path short enough for sockets,
// which may have 107 bytes; [testing.T.TempDir] has the test's name in it.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "p11") //nolint:usetesting // TempDir would be too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if len(dir) > 90 {
		t.Fatalf("p11test: %s is too long for sockets: set TMPDIR", dir)
	}
	return dir
}

// listens reports whether a server takes connections. That its socket exists
// does not say so yet.
func listens(network, address string) bool {
	conn, err := net.Dial(network, address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// loopback is an address on the loopback interface.
func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
