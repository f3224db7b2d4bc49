// Package tests holds what spans cap's packages: the commands as a user runs
// them, against real brokers that get killed.
package tests

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/porttest"
)

// binaries returns the directory of the commands that the tests run: the one
// that CAP_TEST_COMMANDS names, where make test has built them, or one that it
// builds, once.
var binaries = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("CAP_TEST_COMMANDS"); dir != "" {
		return dir, nil
	}
	dir, err := os.MkdirTemp("", "cap-tests-")
	if err != nil {
		return "", fmt.Errorf("make a directory: %w", err)
	}
	own.Store(true)
	const module = "github.com/capsign/cap"
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator),
		module+"/cmd/worker", module+"/cmd/cap", module+"/tests/demo", "github.com/nats-io/nats-server/v2")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return dir, fmt.Errorf("build the commands: %w", err)
	}
	return dir, nil
})

// own says that binaries made its directory.
var own atomic.Bool

// TestMain removes what the tests built.
func TestMain(m *testing.M) {
	status := m.Run()
	if own.Load() {
		dir, _ := binaries()
		_ = os.RemoveAll(dir)
	}
	os.Exit(status)
}

// site is the processes of one test: a broker and workers that share one key.
type site struct {
	t     *testing.T
	dir   string
	env   []string // beside the test's own environment
	port  int
	nodes []node // of a cluster; none means one broker, on port
	kills int

	mu        sync.Mutex
	processes map[string]*exec.Cmd
}

// commands returns the directory of the built commands.
func commands(t *testing.T) string {
	t.Helper()
	dir, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// newSite returns a site without processes yet. All of them end with the test.
func newSite(t *testing.T) *site {
	t.Helper()
	commands(t)
	s := &site{t: t, dir: t.TempDir(), port: porttest.Free(t), processes: make(map[string]*exec.Cmd)}
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, process := range s.processes {
			_ = process.Process.Kill()
			_ = process.Wait()
		}
		if t.Failed() {
			s.showLogs()
		}
	})
	return s
}

// showLogs prints the end of what each process said.
func (s *site) showLogs() {
	logs, _ := filepath.Glob(filepath.Join(s.dir, "*.log"))
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		s.t.Logf("%s:\n…%s", filepath.Base(path), text[max(len(text)-4000, 0):])
	}
}

// awaitLog waits until a process has said text.
func (s *site) awaitLog(name, text string) {
	s.t.Helper()
	await(s.t, name+" says "+text, func() bool {
		log, err := os.ReadFile(filepath.Join(s.dir, name+".log"))
		return err == nil && strings.Contains(string(log), text)
	})
}

// url is where the site's broker listens, or every server of its cluster.
func (s *site) url() string {
	if len(s.nodes) == 0 {
		return fmt.Sprintf("nats://127.0.0.1:%d", s.port)
	}
	urls := make([]string, len(s.nodes))
	for i, n := range s.nodes {
		urls[i] = n.url()
	}
	return strings.Join(urls, ",")
}

// run starts a process under a name. Its output goes to the test's log when
// the test fails.
func (s *site) run(name, command string, args ...string) {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	process := exec.Command(filepath.Join(commands(s.t), command), args...)
	process.Stdout, process.Stderr, process.Dir = log, log, s.dir
	process.Env = append(os.Environ(), s.env...)
	if err := process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.processes[name] = process
}

// kill ends a process as a power cut of its own would, and waits for that.
func (s *site) kill(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	process := s.processes[name]
	delete(s.processes, name)
	_ = process.Process.Kill()
	_ = process.Wait()
	s.kills++
}

// startServer starts the broker and waits until it answers.
func (s *site) startServer() {
	s.t.Helper()
	conf := filepath.Join(s.dir, "nats.conf")
	text := fmt.Sprintf("listen: 127.0.0.1:%d\njetstream { store_dir: %q, sync_interval: always }\n", s.port, filepath.Join(s.dir, "store"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.run("server", "nats-server", "-c", conf)
	s.connect().Close()
}

// restartServer kills the broker and starts it again on its files.
func (s *site) restartServer() {
	s.kill("server")
	s.startServer()
}

// startWorker starts a worker with a data directory of its own and the key
// that all the site's workers share, and waits until it serves.
func (s *site) startWorker(name string) {
	s.t.Helper()
	conf := filepath.Join(s.dir, "key.yaml")
	text := fmt.Sprintf("key:\n  provider: software\n  software:\n    dir: %q\n    generate: true\nqueue:\n  bulk_ack_wait: 1s\n  replicas: %d\n",
		filepath.Join(s.dir, "keys"), max(1, len(s.nodes)))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.run(name, "worker", "--config", conf, "--nats", s.url(), "--data", filepath.Join(s.dir, "data-"+name))
	s.awaitPool()
}

// restartWorker kills a worker and starts it again.
func (s *site) restartWorker(name string) {
	s.kill(name)
	s.startWorker(name)
}

// startEmbedded starts a worker that brings its broker along.
func (s *site) startEmbedded() {
	s.t.Helper()
	s.run("embedded", "worker", "--listen", fmt.Sprintf("127.0.0.1:%d", s.port), "--data", filepath.Join(s.dir, "data"))
	s.awaitPool()
}

// restartEmbedded kills such a worker and starts it again on its files.
func (s *site) restartEmbedded() {
	s.kill("embedded")
	s.startEmbedded()
}

// awaitPool waits until the broker knows the pool.
func (s *site) awaitPool() {
	s.t.Helper()
	nc := s.connect()
	defer nc.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for {
		pools, err := capsign.FetchPools(ctx, nc)
		if err == nil && len(pools) == 1 {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			s.t.Fatalf("no pool: %v", err)
		}
	}
}

// connect returns a connection that outlives the broker's restarts and ends
// with the test. It returns when the broker's JetStream answers.
func (s *site) connect() *nats.Conn {
	s.t.Helper()
	return s.connectTo(s.url())
}

// connectTo is connect to the servers of an URL.
func (s *site) connectTo(url string) *nats.Conn {
	s.t.Helper()
	nc, err := nats.Connect(url, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	for {
		tryCtx, cancel := context.WithTimeout(ctx, time.Second)
		_, err := js.AccountInfo(tryCtx)
		cancel()
		if err == nil {
			return nc
		}
		if ctx.Err() != nil {
			s.t.Fatalf("no broker: %v", err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// awaitWorkers waits until so many workers are ready.
func (s *site) awaitWorkers(n int) {
	s.t.Helper()
	nc := s.connect()
	defer nc.Close()
	await(s.t, fmt.Sprint(n, " workers are ready"), func() bool {
		workers, err := capsign.FetchWorkers(s.t.Context(), nc, "default")
		ready := 0
		for _, w := range workers {
			if w.State == capsign.PoolReady {
				ready++
			}
		}
		return err == nil && ready >= n
	})
}
