//go:build cgo

package p11test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestServersDieWithTheTest(t *testing.T) {
	var s *server
	group := 0
	t.Run("serve", func(t *testing.T) {
		s = serve(t, nil, "sh", "-c", "sleep 100 & exec sleep 100")
		group = s.group
	})
	defer s.kill()
	within(t, "its group has ended", func() bool { return errors.Is(syscall.Kill(-group, 0), syscall.ESRCH) })
}

// A test process that is killed has no cleanups; its servers end all the same.
func TestServersDieWithTheProcess(t *testing.T) {
	if Role() == "victim" {
		tpm, r := TPM(t), P11Kit(t, SoftHSM(t))
		use(t, r.Token) // a connection, which has a process of its own
		fmt.Println("groups", tpm.device.group, tpm.broker.group, r.server.group)
		_, _ = io.Copy(io.Discard, os.Stdin) // until killed
		return
	}
	if testing.Short() {
		t.Skip("starts every server")
	}
	cmd := Child(t, "victim")
	cmd.Env = append(cmd.Env, "TMPDIR="+socketDir(t)) // its files are ours to remove
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var groups []string
	lines := bufio.NewScanner(out)
	for groups == nil && lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "groups "); ok {
			groups = strings.Fields(rest)
		} else if strings.Contains(lines.Text(), "SKIP") {
			t.Skip(lines.Text())
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if len(groups) != 3 {
		t.Fatalf("groups %q", groups)
	}
	for _, g := range groups {
		pid, err := strconv.Atoi(g)
		if err != nil {
			t.Fatal(err)
		}
		within(t, "group "+g+" has ended", func() bool { return errors.Is(syscall.Kill(-pid, 0), syscall.ESRCH) })
	}
}
