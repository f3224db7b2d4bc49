package cli_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestTheWatchingPageWorks runs the commands of docs/watching.md in their order.
func TestTheWatchingPageWorks(t *testing.T) {
	page, err := os.ReadFile("../../docs/watching.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := shownCommands(string(page))
	if len(commands) < 8 {
		t.Fatalf("%d commands were found", len(commands))
	}
	t.Setenv("NATS_URL", startLetters(t))
	t.Chdir(t.TempDir())
	for _, c := range commands {
		args := strings.Fields(c.command)
		stdout, stderr, status := capRun(t.Context(), nil, args[1:]...)
		if strconv.Itoa(status) != c.status {
			t.Errorf("%s: exit status %d, want %s:\n%s%s", c.command, status, c.status, stdout, stderr)
		}
		if c.output != "" && stdout != c.output {
			t.Errorf("%s prints\n%sand the page shows\n%s", c.command, stdout, c.output)
		}
	}
	if _, err := os.Stat(filepath.Join(".", "request.json")); err != nil {
		t.Error("no body was written")
	}
}
