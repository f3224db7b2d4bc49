package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
)

func TestTheBulkPageWorks(t *testing.T) {
	page, err := os.ReadFile("../../docs/bulk.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := shownCommands(string(page))
	if len(commands) < 20 {
		t.Fatalf("%d commands were found", len(commands))
	}
	server := startBroker(t)
	startWorker(t, server, "default", newKeys(t, "cap-signing", capsign.Ed25519, 1))
	dir := t.TempDir()
	for _, name := range []string{"app.deb", "app.rpm", "app.tar"} {
		if err := os.MkdirAll(filepath.Join(dir, "dist"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "dist", name), []byte("the contents of "+name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var script strings.Builder
	for _, c := range commands {
		script.WriteString(c.command + "\nprintf '\\001%s\\000' $?\n")
	}
	shell := exec.CommandContext(t.Context(), "sh")
	shell.Dir, shell.Stdin = dir, strings.NewReader(script.String())
	shell.Env = append(os.Environ(), "NATS_URL="+server.URL(), "GORACE=atexit_sleep_ms=0")
	out, err := shell.Output() // what a page shows of a run is its result
	parts := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if err != nil || len(parts) != len(commands) {
		t.Fatalf("%v: %d of %d commands: %s", err, len(parts), len(commands), out)
	}
	for i, printed := range parts {
		c := commands[i]
		output, status, _ := strings.Cut(printed, "\x01")
		if status != c.status {
			t.Errorf("%s: exit status %s, want %s:\n%s", c.command, status, c.status, output)
		}
		if diff := cmp.Diff(passing.ReplaceAllString(c.output, "…"), passing.ReplaceAllString(output, "…")); c.output != "" && diff != "" {
			t.Errorf("%s prints something else than the page shows: %s", c.command, diff)
		}
	}
}
