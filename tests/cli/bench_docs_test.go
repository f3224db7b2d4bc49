package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capsign/cap/capsign"
)

// TestTheBenchPageWorks runs the commands that docs/bench.md shows, for a moment
// each, and holds the table that it shows against what they print.
func TestTheBenchPageWorks(t *testing.T) {
	page, err := os.ReadFile("../../docs/bench.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := shownCommands(string(page))
	if len(commands) < 4 {
		t.Fatalf("%d commands were found", len(commands))
	}
	server := startBroker(t)
	startWorker(t, server, "default", newKeys(t, "cap-signing", capsign.Ed25519, 1))
	dir := t.TempDir()
	var printed strings.Builder
	for _, c := range commands {
		// The load of a moment, and a budget's verdict on it may be any.
		shell := exec.CommandContext(t.Context(), "sh", "-c", c.command+" --step 200ms --warmup 0s --arrivals fixed")
		shell.Dir, shell.Env = dir, append(os.Environ(), "NATS_URL="+server.URL(), "GORACE=atexit_sleep_ms=0")
		out, err := shell.Output()
		if status := shell.ProcessState.ExitCode(); !slices.Contains([]int{0, 1, 6}, status) {
			t.Errorf("%s: %v: exit status %d", c.command, err, status)
		}
		printed.WriteString(string(out))
	}
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "express lane, ") || strings.HasPrefix(line, "  rate/s ") {
			if !strings.Contains(printed.String(), line) {
				t.Errorf("cap bench does not print %q", line)
			}
		}
	}
	for _, file := range []string{"bench.html", "bench.json"} {
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Size() < 1000 {
			t.Errorf("%s: %v", file, err)
		}
	}
}
