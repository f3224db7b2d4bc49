package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/internal/rotation"
)

// shown is a command in docs/rotation.md with what it is to print, if the page
// shows that, and its exit status.
type shown struct {
	command, output, status string
}

// exitNote is the comment that says how a command ends.
var exitNote = regexp.MustCompile(` # exit (\d+)$`)

// shownCommands returns the commands of a page's console blocks, in their order.
func shownCommands(page string) []shown {
	var commands []shown
	inBlock := false
	for line := range strings.Lines(page) {
		text := strings.TrimSuffix(line, "\n")
		command, isCommand := strings.CutPrefix(text, "$ ")
		switch {
		case strings.HasPrefix(text, "```"):
			inBlock = text == "```console"
		case !inBlock:
		case isCommand:
			status := "0"
			if note := exitNote.FindStringSubmatch(command); note != nil {
				command, status = strings.TrimSuffix(command, note[0]), note[1]
			}
			commands = append(commands, shown{command: command, status: status})
		default:
			commands[len(commands)-1].output += line
		}
	}
	return commands
}

// passing is what differs between two runs of the page's commands.
var passing = regexp.MustCompile(`[0-9a-f]{64}|\b[0-9a-f]{8}\b|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?|\d+ days( \d+ h)?`)

func TestTheRotationPageWorks(t *testing.T) {
	commands := shownCommands(rotationPage(t))
	if len(commands) < 25 {
		t.Fatalf("%d commands were found", len(commands))
	}
	site := newDocsSite(t)
	for i, printed := range site.run(commands) {
		c, mask := commands[i], func(text string) string { return passing.ReplaceAllString(text, "…") }
		output, status, _ := strings.Cut(printed, "\x01")
		if status != c.status {
			t.Errorf("%s: exit status %s, want %s:\n%s", c.command, status, c.status, output)
		}
		if diff := cmp.Diff(mask(c.output), mask(output)); c.output != "" && diff != "" {
			t.Errorf("%s prints something else than the page shows: %s", c.command, diff)
		}
	}
}

// inline is a command in the page's text.
var inline = regexp.MustCompile("`cap ([a-z -]+?)(?: [A-Z-].*?)?`")

func TestTheRotationPageNamesCommandsThatThereAre(t *testing.T) {
	found := inline.FindAllStringSubmatch(rotationPage(t), -1)
	if len(found) < 10 {
		t.Fatalf("%d commands were found", len(found))
	}
	for _, command := range found {
		words := strings.Fields(command[1])
		if _, errs, status := capRun(t.Context(), nil, append([]string{"help"}, words...)...); status != 0 {
			t.Errorf("%s: %s", command[0], errs)
		}
	}
}

// rotationPage returns docs/rotation.md.
func rotationPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/rotation.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// docsSite is where the page's commands run: a broker with the pool default, and
// a directory.
type docsSite struct {
	t   *testing.T
	nc  *nats.Conn
	dir string
	env []string
}

// newDocsSite starts the broker.
func newDocsSite(t *testing.T) docsSite {
	t.Helper()
	server := startBroker(t)
	s := docsSite{t: t, nc: connect(t, server), dir: t.TempDir()}
	serveGrowing(t, s.nc, "default")
	for _, name := range []string{"root.key", "ben.key", "cleo.key"} { // made here, they open fast
		if _, err := rotation.CreateRootFile(filepath.Join(s.dir, name), []byte("secret"), 8); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, "release.tar"), []byte("release"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.env = append(os.Environ(), "NATS_URL="+server.URL(), "CAP_ROOT_PASSPHRASE=secret",
		"XDG_STATE_HOME="+filepath.Join(s.dir, "state"), "GORACE=atexit_sleep_ms=0")
	return s
}

// run runs commands in one shell and returns what each printed, a 0x01 and its
// exit status. Before one that names it, the pool called release begins.
func (s docsSite) run(commands []shown) []string {
	s.t.Helper()
	var script strings.Builder
	for _, c := range commands {
		if strings.Contains(c.command, "--pool release") {
			script.WriteString("read begun < more\n")
		}
		script.WriteString(c.command + "\nprintf '\\001%s\\000' $?\n")
	}
	more := filepath.Join(s.dir, "more")
	if err := syscall.Mkfifo(more, 0o600); err != nil {
		s.t.Fatal(err)
	}
	go func() { // the pipe opens once the shell reads it
		if pipe, err := os.OpenFile(more, os.O_WRONLY, 0); err == nil {
			serveGrowing(s.t, s.nc, "release")
			_, _ = pipe.WriteString("begun\n")
			_ = pipe.Close()
		}
	}()
	shell := exec.CommandContext(s.t.Context(), "sh")
	shell.Dir, shell.Env, shell.Stdin = s.dir, s.env, strings.NewReader(script.String())
	out, err := shell.CombinedOutput()
	parts := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if err != nil || len(parts) != len(commands) {
		s.t.Fatalf("%v: %d of %d commands: %s", err, len(parts), len(commands), out)
	}
	return parts
}
