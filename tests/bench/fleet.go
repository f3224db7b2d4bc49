package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// fleetSite is a server in this process with workers beside it, each with a
// connection of its own over TCP.
func fleetSite(like workers) newSite {
	return func(ctx context.Context, p *pass, sync durability) (*site, error) {
		server, err := startServer(filepath.Join(p.dir, "nats"), sync)
		if err != nil {
			return nil, err
		}
		stops := []func() error{func() error { server.Stop(); return nil }}
		stop := func() error {
			var failed []error
			for _, stop := range slices.Backward(stops) {
				failed = append(failed, stop())
			}
			return errors.Join(failed...)
		}
		keys := filepath.Join(p.dir, "keys")
		if err := makeKeys(ctx, keys, max(1, like.keys)); err != nil {
			return nil, errors.Join(err, stop())
		}
		for i := range max(1, like.n) {
			nc, err := nats.Connect(server.URL())
			if err != nil {
				return nil, errors.Join(err, stop())
			}
			stops = append(stops, func() error { nc.Close(); return nil })
			stopWorker, err := serveKeys(ctx, nc, keys, filepath.Join(p.dir, fmt.Sprint("audit-", i)), sync, like)
			if err != nil {
				return nil, errors.Join(err, stop())
			}
			stops = append(stops, stopWorker)
		}
		return connect(server.URL(), 0, stop)
	}
}

// workerProcess is one worker in a process of its own.
type workerProcess struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

// spawnWorker starts a worker at the server of this URL, with the key versions
// in keys, and returns when it serves.
func spawnWorker(ctx context.Context, p *pass, url, keys, record string, sync durability, like workers) (*workerProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "work", url, keys, record, string(sync), like.delay.String(), like.ackWait.String())
	cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(p.procs))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w := &workerProcess{cmd, stdin}
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		return nil, errors.Join(fmt.Errorf("worker process: %w", err), w.stop())
	}
	return w, nil
}

// stop has the worker finish what it holds.
func (w *workerProcess) stop() error { return errors.Join(w.stdin.Close(), w.cmd.Wait()) }

// kill ends the worker as a crash does.
func (w *workerProcess) kill() error {
	err := w.cmd.Process.Kill()
	_ = w.cmd.Wait() // says that it was killed
	return err
}

// work is that process: it says when it serves, and serves until stdin ends. Its
// arguments are those of spawnWorker.
func work(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) (err error) {
	var like workers
	if like.delay, err = time.ParseDuration(args[4]); err != nil {
		return err
	}
	if like.ackWait, err = time.ParseDuration(args[5]); err != nil {
		return err
	}
	nc, err := nats.Connect(args[0])
	if err != nil {
		return err
	}
	defer nc.Close()
	stop, err := serveKeys(ctx, nc, args[1], args[2], durability(args[3]), like)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(stdout, "serving"); err != nil {
		return errors.Join(err, stop())
	}
	_, err = io.Copy(io.Discard, stdin)
	return errors.Join(err, stop())
}

// peakMemory returns the most resident memory that a process has had so far, in
// MB; 0 means this process.
func peakMemory(pid int) (float64, error) {
	name := "self"
	if pid != 0 {
		name = strconv.Itoa(pid)
	}
	data, err := os.ReadFile(filepath.Join("/proc", name, "status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kB, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			return kB / 1000, err
		}
	}
	return 0, errors.New("no VmHWM in /proc")
}
