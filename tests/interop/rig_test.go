//go:build interop && cgo

package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/capsign/cap/internal/porttest"
	"github.com/capsign/cap/internal/providers/pkcs11/p11test"
)

// cosignVersion is the release that is built. It builds with this repository's
// Go; later ones may want a newer.
const cosignVersion = "v3.1.3"

// pinVariable is the environment variable that workers read PINs from.
const pinVariable = "CAP_INTEROP_PIN"

// cosign returns the path of cosign: the one that CAP_COSIGN names, or one that
// is built from its module and kept in the user's cache.
var cosign = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("CAP_COSIGN"); path != "" {
		return path, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "cap-interop", "cosign-"+cosignVersion)
	path := filepath.Join(dir, "cosign")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	fmt.Fprintf(os.Stderr, "building cosign %s, once, into %s; this takes minutes\n", cosignVersion, dir)
	build := exec.Command("go", "install", "github.com/sigstore/cosign/v3/cmd/cosign@"+cosignVersion)
	build.Env, build.Stderr = append(os.Environ(), "GOBIN="+dir), os.Stderr
	return path, build.Run()
})

// commands builds worker and cap, once for all tests.
var commands = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "cap-interop-")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "../../cmd/worker", "../../cmd/cap")
	build.Stderr = os.Stderr
	return dir, build.Run()
})

// TestMain removes what the tests built, but for cosign.
func TestMain(m *testing.M) {
	status := m.Run()
	if dir, err := commands(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(status)
}

// rig is one worker with its broker, two registries and a directory.
type rig struct {
	t        *testing.T
	dir      string
	url      string            // the broker's
	env      []string          // of the worker
	registry map[string]string // hosts by kind
}

// kinds are the kinds of registries: with and without the referrers API.
var kinds = map[string]bool{"referrers API": true, "fallback tag": false}

// newRig starts a worker whose key is configured so.
func newRig(t *testing.T, key string, env ...string) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), env: env, registry: make(map[string]string)}
	for kind, referrers := range kinds {
		server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers)))
		t.Cleanup(server.Close)
		r.registry[kind] = strings.TrimPrefix(server.URL, "http://")
	}
	r.startWorker(key)
	return r
}

// startWorker starts the worker and waits until it serves.
func (r *rig) startWorker(key string) {
	r.t.Helper()
	bin, err := commands()
	if err != nil {
		r.t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", porttest.Free(r.t))
	r.url = "nats://" + address
	conf := r.write("key.yaml", []byte(key))
	worker := exec.Command(filepath.Join(bin, "worker"), "--config", conf, "--listen", address, "--data", filepath.Join(r.dir, "data"))
	worker.Env, worker.Dir = append(os.Environ(), r.env...), r.dir
	worker.Stdout, worker.Stderr = r.t.Output(), r.t.Output()
	if err := worker.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = worker.Process.Kill(); _ = worker.Wait() })
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if _, err := r.try("cap", "keys", "info"); err == nil {
			return
		} else if time.Now().After(deadline) {
			r.t.Fatalf("no worker: %v", err)
		}
	}
}

// softwareKey is the configuration of a software key.
func softwareKey(alg string) string {
	return "key:\n  provider: software\n  software:\n    generate: true\n    alg: " + alg + "\n"
}

// tokenKey is the configuration of the key cap-signing on a token.
func tokenKey(tok *p11test.Token) string {
	return fmt.Sprintf("key:\n  provider: pkcs11\n  pkcs11:\n    module: %q\n    token_label: %q\n    pin_env: %s\n    key_label: cap-signing\n",
		tok.Module, tok.Label, pinVariable)
}

// write writes a file into the rig's directory and returns its path.
func (r *rig) write(name string, data []byte) string {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// try runs cap or cosign and returns what it printed.
func (r *rig) try(program string, args ...string) (string, error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	path, err := cosign()
	if program == "cap" {
		bin, builtErr := commands()
		path, err = filepath.Join(bin, "cap"), builtErr
		args = append(args, "--nats", r.url)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	// No cache, trust root or login of the user's, nor one from the network.
	cmd.Env = append(os.Environ(), "HOME="+r.dir, "DOCKER_CONFIG="+r.dir, "TUF_ROOT="+filepath.Join(r.dir, "tuf"), "XDG_CONFIG_HOME="+r.dir)
	cmd.Dir = r.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run runs cap or cosign, which must succeed.
func (r *rig) run(program string, args ...string) string {
	r.t.Helper()
	out, err := r.try(program, args...)
	if err != nil {
		r.t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return out
}

// refuses runs cap or cosign, which must say no: for cap, with this status.
func (r *rig) refuses(status int, program string, args ...string) {
	r.t.Helper()
	out, err := r.try(program, args...)
	exit, failed := errors.AsType[*exec.ExitError](err)
	if !failed || program == "cap" && exit.ExitCode() != status {
		r.t.Errorf("%s %s: %v, want a refusal\n%s", program, strings.Join(args, " "), err, out)
	}
}
