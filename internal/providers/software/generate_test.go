package software

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

// generatorEnv makes the test binary a program that generates keys in the
// directory the variable names and prints their kids.
const generatorEnv = "CAP_TEST_GENERATE_IN"

// countEnv, set beside it, says how many keys it generates.
const countEnv = "CAP_TEST_GENERATE_COUNT"

// fullDiskEnv, set beside it, has its writes fail in the middle of a key file.
const fullDiskEnv = "CAP_TEST_FULL_DISK"

func TestMain(m *testing.M) {
	dir := os.Getenv(generatorEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	if os.Getenv(fullDiskEnv) != "" {
		signal.Ignore(syscall.SIGXFSZ)
		limit := syscall.Rlimit{Cur: 50, Max: 50} // bytes in a file
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			panic(err)
		}
	}
	count, err := strconv.Atoi(os.Getenv(countEnv))
	if err != nil {
		panic(err)
	}
	for range count {
		kid, err := Generate(context.Background(), Config{Dir: dir, KeyName: "cap-signing"})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(kid)
	}
}

// generator returns a process that generates keys.
func generator(t *testing.T, cfg Config, count int) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	process := exec.CommandContext(t.Context(), self)
	process.Env = append(os.Environ(), generatorEnv+"="+cfg.Dir, countEnv+"="+strconv.Itoa(count))
	return process
}

func TestGenerateWritesAFileOnlyItsOwnerReads(t *testing.T) {
	previous := syscall.Umask(0)
	defer syscall.Umask(previous)
	cfg := newConfig(t, "")
	cfg.Dir = filepath.Join(cfg.Dir, "made", "on demand")
	kid := generate(t, cfg)
	for path, want := range map[string]fs.FileMode{
		cfg.Dir: fs.ModeDir | 0o700,
		filepath.Join(cfg.Dir, "cap-signing.1.pem"): 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, want %v (%v)", path, info.Mode(), want, err)
		}
	}
	if names := namesIn(t, cfg.Dir); len(names) != 1 {
		t.Errorf("the directory holds %v", names)
	}
	if got := open(t, cfg).held.Load().current; got != kid {
		t.Errorf("Generate said %s, the file says %s", kid, got)
	}
}

// namesIn returns what is in a directory.
func namesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// What cap writes must be of use without cap.
func TestOpenSSLReadsGeneratedKeys(t *testing.T) {
	for _, alg := range []capsign.Alg{capsign.Ed25519, capsign.ES256} {
		cfg := newConfig(t, alg)
		kid := generate(t, cfg)
		spki := openssl(t, "pkey", "-in", filepath.Join(cfg.Dir, "cap-signing.1.pem"), "-pubout", "-outform", "DER")
		again, err := capsign.KID(spki, capsign.ProviderSoftware, cfg.KeyName)
		if err != nil || again != kid {
			t.Errorf("%s: the key openssl reads has kid %s, want %s (%v)", alg, again, kid, err)
		}
	}
}

func TestEncryptedKeysAreNotOnDiskInTheClear(t *testing.T) {
	cfg := withPassphrase(newConfig(t, ""))
	generate(t, cfg)
	content, err := os.ReadFile(filepath.Join(cfg.Dir, "cap-signing.1.pem"))
	must(t, err)
	if !bytes.HasPrefix(content, []byte("-----BEGIN AGE ENCRYPTED FILE-----\n")) {
		t.Errorf("the file begins with %.40q", content)
	}
	if block, _ := pem.Decode(content); block == nil || block.Type != "AGE ENCRYPTED FILE" {
		t.Error("the file is not armored")
	}
}

func TestGenerateRefuses(t *testing.T) {
	cfg := newConfig(t, "")
	open := newConfig(t, "")
	must(t, os.Chmod(open.Dir, 0o777))
	file := newConfig(t, "")
	file.Dir = place(t, file, 1, nil)
	for name, refused := range map[string]struct {
		cfg  Config
		want capsign.Code
	}{
		"another algorithm":     {Config{Dir: cfg.Dir, KeyName: "a", Alg: capsign.ES384}, capsign.UnsupportedAlg},
		"RSA":                   {Config{Dir: cfg.Dir, KeyName: "a", Alg: capsign.PS256}, capsign.UnsupportedAlg},
		"no name":               {Config{Dir: cfg.Dir}, capsign.ConfigInvalid},
		"no directory":          {Config{KeyName: "a"}, capsign.ConfigInvalid},
		"directory open to all": {open, capsign.KeyFileUnsafe},
		"directory is a file":   {file, capsign.ConfigInvalid},
		"directory in a file":   {Config{Dir: filepath.Join(file.Dir, "in"), KeyName: "a"}, capsign.ConfigInvalid},
	} {
		kid, err := Generate(t.Context(), refused.cfg)
		if kid != "" || !errors.Is(err, refused.want) {
			t.Errorf("%s: Generate = %q, %v; want %v", name, kid, err, refused.want)
		}
	}
	if names := namesIn(t, cfg.Dir); names != nil {
		t.Errorf("a refused Generate left %v", names)
	}
}

func TestGenerateOverwritesNothing(t *testing.T) {
	cfg := newConfig(t, "")
	path := place(t, cfg, 1, []byte("precious, if not a key"))
	generate(t, cfg)
	content, err := os.ReadFile(path)
	if err != nil || string(content) != "precious, if not a key" {
		t.Errorf("version 1 now holds %q, %v", content, err)
	}
	if names := namesIn(t, cfg.Dir); !slices.Equal(names, []string{"cap-signing.1.pem", "cap-signing.2.pem"}) {
		t.Errorf("the directory holds %v", names)
	}
}

func TestGoroutinesGenerateAtOnce(t *testing.T) {
	cfg := newConfig(t, "")
	kids := make([]string, 16)
	var generators sync.WaitGroup
	for i := range kids {
		generators.Go(func() { kids[i] = generate(t, cfg) })
	}
	generators.Wait()
	mustHoldExactly(t, cfg, kids)
}

func TestProcessesGenerateAtOnce(t *testing.T) {
	cfg := newConfig(t, "")
	outputs := make([][]byte, 3)
	var processes sync.WaitGroup
	for i := range outputs {
		processes.Go(func() {
			var err error
			if outputs[i], err = generator(t, cfg, 20).Output(); err != nil {
				t.Errorf("process %d: %v", i, err)
			}
		})
	}
	processes.Wait()
	mustHoldExactly(t, cfg, strings.Fields(string(bytes.Join(outputs, nil))))
}

// mustHoldExactly says that the versions are those whose kids Generate
// returned: none lost, none overwritten, none beside them.
func mustHoldExactly(t *testing.T, cfg Config, kids []string) {
	t.Helper()
	held := slices.Sorted(slices.Values(open(t, cfg).held.Load().kids))
	if want := slices.Sorted(slices.Values(kids)); !slices.Equal(held, want) {
		t.Errorf("%d versions are held, %d were generated:\n%v\n%v", len(held), len(want), held, want)
	}
	if names := namesIn(t, cfg.Dir); len(names) != len(kids) {
		t.Errorf("%d files for %d versions", len(names), len(kids))
	}
}

// A process that dies while it generates leaves whole versions, and perhaps a
// hidden file that is in nobody's way.
func TestKilledGenerateLeavesWholeVersions(t *testing.T) {
	cfg := newConfig(t, "")
	for round := range 12 {
		process := generator(t, cfg, 1_000_000)
		before := len(namesIn(t, cfg.Dir))
		must(t, process.Start())
		waitForFiles(t, cfg.Dir, before+1+round%4) // die at another moment each time
		must(t, process.Process.Kill())
		_ = process.Wait() // it was killed
	}
	before := open(t, cfg).held.Load().kids
	next := generate(t, cfg)
	if after := open(t, cfg).held.Load().kids; !slices.Equal(after, append(before, next)) {
		t.Errorf("%d versions became %d", len(before), len(after))
	}
}

func TestFullDiskLeavesNothing(t *testing.T) {
	cfg := newConfig(t, "")
	process := generator(t, cfg, 1)
	process.Env = append(process.Env, fullDiskEnv+"=1")
	kids, err := process.Output()
	exit, _ := errors.AsType[*exec.ExitError](err)
	if exit == nil || len(kids) != 0 || string(exit.Stderr) != "software: generate key: provider_unavailable\n" {
		t.Errorf("generating on a full disk gave %q, %v, %s", kids, err, exit.Stderr)
	}
	if names := namesIn(t, cfg.Dir); names != nil {
		t.Errorf("the directory holds %v", names)
	}
}

// A file that does not read back as the key that was made must not become a
// version of it.
func TestUnreadableKeyIsNotAVersion(t *testing.T) {
	cfg := newConfig(t, "")
	dir, err := cfg.openDir("generate key")
	must(t, err)
	defer dir.Close()
	if err := dir.create(testdata(t, "p256.pem"), rfc8410KID); !errors.Is(err, capsign.Integrity) {
		t.Errorf("another key in the file: %v, want %v", err, capsign.Integrity)
	}
	if err := dir.create(testdata(t, "p256.pem")[:100], p256KID); !errors.Is(err, capsign.KeyFileInvalid) {
		t.Errorf("half a key in the file: %v, want %v", err, capsign.KeyFileInvalid)
	}
	if names := namesIn(t, cfg.Dir); names != nil {
		t.Errorf("the directory holds %v", names)
	}
}

// waitForFiles waits until a directory holds that many files.
func waitForFiles(t *testing.T, dir string, count int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); len(namesIn(t, dir)) < count; {
		if time.Now().After(deadline) {
			t.Fatal("the process generates nothing")
		}
	}
}
