package p11test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// childRole is the variable that tells a child process what it is.
const childRole = "CAP_P11TEST_ROLE"

// Role is the role this process was started in by [Child], empty in the process
// that go test started.
func Role() string { return os.Getenv(childRole) }

// Child is a process, not started yet, that runs the same test of the same
// binary in a role, which [Role] tells it. The test's environment is its own.
// It is killed when the test ends.
func Child(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(t.Name(), "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run="+strings.Join(parts, "/"), "-test.v", "-test.count=1", "-test.timeout=100s")
	cmd.Env = append(os.Environ(), childRole+"="+role,
		"GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=10") // or each would take a second to exit
	cmd.WaitDelay = time.Second
	return cmd
}

// OwnProcess runs the test in a process of its own, unless it is in a child
// process already: with a login state, and
// with modules, that no other test has touched. The test must do nothing before
// it, since both processes would.
//
//	func TestWrongPIN(t *testing.T) {
//		p11test.OwnProcess(t, func(t *testing.T) { ... })
//	}
func OwnProcess(t *testing.T, run func(t *testing.T)) {
	t.Helper()
	if Role() != "" {
		run(t)
		return
	}
	out, err := Child(t, "own").CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("in its own process: %v\n%s", err, out)
	case !bytes.Contains(out, []byte("--- PASS: "+t.Name())):
		t.Skipf("in its own process:\n%s", out)
	case testing.Verbose():
		t.Logf("in its own process:\n%s", out)
	}
}

// within waits until ok is true, looking every 10 ms, and fails the test when
// that takes longer than 10 s.
func within(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("p11test: not within 10 s: %s", what)
		case <-tick.C:
		}
	}
}
