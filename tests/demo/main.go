// Command demo shows cap doing its main job: it starts a worker with its own
// broker and key in a temporary directory, signs real files through the queue,
// verifies them, shows that a tampered file is refused, and stops by itself.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/schollz/progressbar/v3"

	"github.com/capsign/cap/capsign"
)

// many is how many files are signed in one go.
const many = 1000

func main() {
	bin := flag.String("bin", "bin", "the `directory` of the commands worker and cap")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *bin, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// show is one showing: its commands run in dir and are printed to out.
type show struct {
	bin, dir string
	out      io.Writer
	progress io.Writer
}

// run gives the whole showing.
func run(ctx context.Context, bin string, out, progress io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	bin, err = filepath.Abs(bin)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "cap-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &show{bin: bin, dir: dir, out: out, progress: progress}
	url, stop, err := s.startWorker(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return errors.Join(s.oneFile(ctx), s.manyFiles(ctx, url))
}

// oneFile signs a file, verifies it, and changes one bit of it.
func (s *show) oneFile(ctx context.Context) error {
	if err := s.write("app.txt", []byte("the release\n")); err != nil {
		return err
	}
	for _, how := range [][]string{{"--json"}, {"--out", "app.sig"}} {
		sign := append([]string{"keys", "sign", "--in", "app.txt"}, how...)
		if err := s.run(ctx, 0, "cap", sign...); err != nil {
			return err
		}
	}
	kid, err := s.currentKID(ctx)
	if err != nil {
		return err
	}
	verify := []string{"verify-signature", "--in", "app.txt", "--sig", "app.sig", "--kid", kid}
	if err := s.run(ctx, 0, "cap", verify...); err != nil {
		return err
	}
	s.note("one bit of the file changes")
	if err := s.write("app.txt", []byte("the reLease\n")); err != nil {
		return err
	}
	return s.run(ctx, capsign.SignatureInvalid.ExitStatus(), "cap", verify...)
}

// manyFiles signs a thousand files of the Go distribution from a Go program,
// as a pipeline would, and verifies every one.
func (s *show) manyFiles(ctx context.Context, url string) error {
	paths, err := realFiles(ctx, many)
	if err != nil {
		return err
	}
	nc, err := nats.Connect(url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer nc.Close()
	client, err := capsign.NewClient(ctx, nc, capsign.ClientConfig{SkipVerify: true}) // verified below
	if err != nil {
		return err
	}
	defer client.Close()
	s.note(fmt.Sprintf("%d files of the Go distribution, signed through capsign.Client.SignAll", len(paths)))

	bar := progressbar.NewOptions(len(paths), progressbar.OptionSetWriter(s.progress), progressbar.OptionSetDescription("signing"),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("signatures"), progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond))
	signatures := make(map[string]capsign.Signed, len(paths))
	began := time.Now()
	for signed, err := range client.SignAll(ctx, contents(paths)) {
		if err != nil {
			return err
		}
		signatures[signed.Ref] = signed
		_ = bar.Add(1) // a terminal that takes no more output
	}
	took := time.Since(began)
	_ = bar.Finish()
	fmt.Fprintln(s.progress)
	if err := verifyAll(ctx, nc, signatures); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%d files signed in %d ms, %d signatures verified\n", len(paths), took.Milliseconds(), len(signatures))
	return nil
}

// verifyAll verifies each signature with the public keys that the broker has.
func verifyAll(ctx context.Context, nc *nats.Conn, signatures map[string]capsign.Signed) error {
	ring, err := capsign.FetchKeySet(ctx, nc)
	if err != nil {
		return err
	}
	for path, signed := range signatures {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := ring.Verify(signed.KID, content, signed.Bytes); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(path), err)
		}
	}
	return nil
}

// contents yields each file's content as an item to sign.
func contents(paths []string) func(yield func(capsign.Item) bool) {
	return func(yield func(capsign.Item) bool) {
		for _, path := range paths {
			content, err := os.ReadFile(path)
			if err != nil || !yield(capsign.Item{Ref: path, Message: content}) {
				return
			}
		}
	}
}

// realFiles returns n small source files of the Go distribution.
func realFiles(ctx context.Context, n int) ([]string, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	var paths []string
	err = filepath.WalkDir(filepath.Join(strings.TrimSpace(string(root)), "src"), func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case len(paths) == n:
			return fs.SkipAll
		case entry.Type().IsRegular() && strings.HasSuffix(path, ".go"):
			if info, err := entry.Info(); err == nil && info.Size() < 32<<10 {
				paths = append(paths, path)
			}
		}
		return nil
	})
	return paths, err
}

// currentKID asks cap for the kid that signs now.
func (s *show) currentKID(ctx context.Context) (string, error) {
	out, err := s.output(ctx, "cap", "keys", "info", "--json")
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(out), `"current_kid"`)
	quoted := strings.SplitN(rest, `"`, 3)
	if len(quoted) < 3 {
		return "", errors.New("keys info names no current kid")
	}
	return quoted[1], nil
}

// startWorker starts the worker on a free port and returns its address and
// what stops it.
func (s *show) startWorker(ctx context.Context) (url string, stop func() error, err error) {
	fmt.Fprintln(s.out, "$ worker &")
	log, err := os.Create(filepath.Join(s.dir, "worker.log"))
	if err != nil {
		return "", nil, err
	}
	defer log.Close()
	worker := exec.CommandContext(ctx, filepath.Join(s.bin, "worker"), "--listen", "127.0.0.1:0", "--data", filepath.Join(s.dir, "data"))
	worker.Stderr = log
	stdout, err := worker.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := worker.Start(); err != nil {
		return "", nil, err
	}
	var line string
	if _, err := fmt.Fscanf(stdout, "listening on %s\n", &line); err != nil {
		_ = worker.Process.Kill()
		text, _ := os.ReadFile(log.Name())
		return "", nil, fmt.Errorf("the worker did not start: %w\n%s", errors.Join(err, worker.Wait()), text)
	}
	fmt.Fprintf(s.out, "listening on %s\n", line)
	return line, func() error {
		fmt.Fprintln(s.out, "$ kill %1")
		return errors.Join(worker.Process.Signal(syscall.SIGTERM), worker.Wait())
	}, nil
}

// run prints a command, runs it and prints what it says. Another exit status
// than want is an error.
func (s *show) run(ctx context.Context, want int, name string, args ...string) error {
	fmt.Fprintf(s.out, "$ %s %s\n", name, strings.Join(args, " "))
	var text bytes.Buffer
	cmd := s.command(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &text, &text
	err := cmd.Run()
	fmt.Fprint(s.out, text.String())
	if status := cmd.ProcessState.ExitCode(); status != want {
		return fmt.Errorf("%s %s: exit status %d, want %d: %w", name, args[0], status, want, err)
	}
	if want != 0 {
		fmt.Fprintf(s.out, "exit status %d\n", want)
	}
	return nil
}

// output runs a command without showing it and returns its output.
func (s *show) output(ctx context.Context, name string, args ...string) ([]byte, error) {
	out, err := s.command(ctx, name, args...).Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", name, args[0], err)
	}
	return out, nil
}

// command returns a command that finds the showing's worker.
func (s *show) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	return cmd
}

// write writes a file into the showing's directory.
func (s *show) write(name string, content []byte) error {
	return os.WriteFile(filepath.Join(s.dir, name), content, 0o600)
}

// note prints a remark of the demo's own.
func (s *show) note(text string) { fmt.Fprintf(s.out, "# %s\n", text) }
