package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// program is a program that a row starts.
type program string

// The programs.
const (
	worker        program = "worker"         // cmd/worker as "go build" makes it here
	cgoWorker     program = "cgo-worker"     // with CGO_ENABLED=1
	pureWorker    program = "pure-worker"    // with CGO_ENABLED=0
	noCloudWorker program = "nocloud-worker" // without the clouds' SDKs
	empty         program = "empty"          // a main that does nothing
)

// programs builds programs, each once.
type programs struct {
	dir   string
	built map[program]string // path of the binary; empty where it does not build
}

// newPrograms returns none yet; the binaries go to dir.
func newPrograms(dir string) *programs {
	return &programs{dir: dir, built: make(map[program]string)}
}

// path builds a program where that is still to be done and returns the path of
// its binary. It wraps errSkip where it does not build.
func (b *programs) path(p program) (string, error) {
	if _, tried := b.built[p]; !tried {
		b.built[p] = filepath.Join(b.dir, string(p))
		if err := b.build(p); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", p, err)
			b.built[p] = ""
		}
	}
	if b.built[p] == "" {
		return "", fmt.Errorf("%w: %s does not build", errSkip, p)
	}
	return b.built[p], nil
}

// workerPackage is the worker's import path.
const workerPackage = "github.com/capsign/cap/cmd/worker"

// build builds a program.
func (b *programs) build(p program) (err error) {
	args, env := []string{workerPackage}, os.Environ()
	switch p {
	case worker:
	case cgoWorker:
		env = append(env, "CGO_ENABLED=1")
	case pureWorker:
		env = append(env, "CGO_ENABLED=0")
	case noCloudWorker:
		if args, err = b.withoutClouds(); err != nil {
			return err
		}
	case empty:
		args = []string{filepath.Join(b.dir, "empty.go")}
		if err := os.WriteFile(args[0], []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
			return err
		}
	}
	cmd := exec.Command("go", append([]string{"build", "-o", b.built[p]}, args...)...)
	cmd.Env, cmd.Stderr = env, os.Stderr
	return cmd.Run()
}

// noClouds stands in for the one file of the worker's that knows the clouds.
const noClouds = `package main

import (
	"log/slog"

	"github.com/capsign/cap/internal/config"
)

// cloudBackend reaches nothing.
func cloudBackend(config.Config, *slog.Logger) backend { return backend{} }
`

// withoutClouds returns the arguments of "go build" for a worker whose cloud.go
// is noClouds. The file itself stays as it is.
func (b *programs) withoutClouds() ([]string, error) {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", workerPackage).Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	stub, overlay := filepath.Join(b.dir, "cloud.go"), filepath.Join(b.dir, "overlay.json")
	if err := os.WriteFile(stub, []byte(noClouds), 0o600); err != nil {
		return nil, err
	}
	replaced := filepath.Join(strings.TrimSpace(string(dir)), "cloud.go")
	text, err := json.Marshal(map[string]map[string]string{"Replace": {replaced: stub}})
	if err != nil {
		return nil, err
	}
	return []string{"-overlay", overlay, workerPackage}, os.WriteFile(overlay, text, 0o600)
}
