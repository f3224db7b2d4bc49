package software

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

// mustNotOpen says that Open refuses cfg's files with the code.
func mustNotOpen(t *testing.T, cfg Config, want capsign.Code) {
	t.Helper()
	provider, err := Open(t.Context(), cfg)
	if !errors.Is(err, want) || provider != nil {
		t.Errorf("Open = %v, %v; want %v", provider, err, want)
	}
}

func TestUnsafeFilesAreRefused(t *testing.T) {
	key := testdata(t, "rfc8410-v1.pem")
	for name, spoil := range map[string]func(t *testing.T, cfg Config, path string){
		"group may read":     func(t *testing.T, _ Config, path string) { must(t, os.Chmod(path, 0o640)) },
		"group may write":    func(t *testing.T, _ Config, path string) { must(t, os.Chmod(path, 0o620)) },
		"others may read":    func(t *testing.T, _ Config, path string) { must(t, os.Chmod(path, 0o604)) },
		"others may execute": func(t *testing.T, _ Config, path string) { must(t, os.Chmod(path, 0o601)) },
		"symlink to a file beside it": func(t *testing.T, cfg Config, path string) {
			must(t, os.Rename(path, filepath.Join(cfg.Dir, "beside")))
			must(t, os.Symlink("beside", path))
		},
		"symlink to a file elsewhere": func(t *testing.T, cfg Config, path string) {
			elsewhere := filepath.Join(t.TempDir(), "elsewhere")
			must(t, os.Rename(path, elsewhere))
			must(t, os.Symlink(elsewhere, path))
		},
		"symlink loop": func(t *testing.T, cfg Config, path string) {
			must(t, os.Remove(path))
			must(t, os.Symlink(filepath.Base(path), path))
		},
		"directory": func(t *testing.T, cfg Config, path string) {
			must(t, os.Remove(path))
			must(t, os.Mkdir(path, 0o700))
		},
		"FIFO that nobody writes to": func(t *testing.T, cfg Config, path string) {
			must(t, os.Remove(path))
			must(t, syscall.Mkfifo(path, 0o600))
		},
		"device without an end": func(t *testing.T, cfg Config, path string) {
			must(t, os.Remove(path))
			must(t, os.Symlink("/dev/zero", path))
		},
		"file of another user":         func(t *testing.T, _ Config, path string) { giveAway(t, path) },
		"directory of another user":    func(t *testing.T, cfg Config, _ string) { giveAway(t, cfg.Dir) },
		"directory open to the group":  func(t *testing.T, cfg Config, _ string) { must(t, os.Chmod(cfg.Dir, 0o770)) },
		"directory open to others":     func(t *testing.T, cfg Config, _ string) { must(t, os.Chmod(cfg.Dir, 0o702)) },
		"sticky directory open to all": func(t *testing.T, cfg Config, _ string) { must(t, os.Chmod(cfg.Dir, 0o777|fs.ModeSticky)) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newConfig(t, "")
			path := place(t, cfg, 1, key)
			open(t, cfg) // it is the spoiling that is refused
			spoil(t, cfg, path)
			within(t, 10*time.Second, func() { mustNotOpen(t, cfg, capsign.KeyFileUnsafe) })
		})
	}
}

// giveAway makes another user the owner.
func giveAway(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away; TestOwnerDecides covers the rule")
	}
	must(t, os.Chown(path, 65534, 65534))
}

// within stops the test where do hangs.
func within(t *testing.T, limit time.Duration, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(limit):
		t.Fatalf("still not done after %v", limit)
	}
}

// ownedFile is a file of a given user.
type ownedFile struct {
	fs.FileInfo
	uid int
}

func (f ownedFile) Mode() fs.FileMode { return 0o600 }
func (f ownedFile) Sys() any          { return &syscall.Stat_t{Uid: uint32(f.uid)} }

func TestOwnerDecides(t *testing.T) {
	self := os.Geteuid()
	if !safeFile(ownedFile{uid: self}) {
		t.Error("a file of this user's is refused")
	}
	if safeFile(ownedFile{uid: self + 1}) {
		t.Error("a file of another user's is accepted")
	}
}

// A name that stands for something else from one moment to the next must give
// the key it stood for at first, or none, and at once.
func TestSwappedFileIsNeverBelieved(t *testing.T) {
	cfg := newConfig(t, "")
	path := place(t, cfg, 1, testdata(t, "rfc8410-v1.pem"))
	beside := func(name string) string { return filepath.Join(cfg.Dir, name) }
	must(t, os.Link(path, beside("own")))
	must(t, os.WriteFile(beside("foreign"), testdata(t, "p256.pem"), 0o600))
	whileSwapping(t, path,
		func(swap string) error { return os.Symlink("foreign", swap) },
		func(swap string) error { return os.Link(beside("own"), swap) },
		func(swap string) error { return syscall.Mkfifo(swap, 0o600) },
		func(swap string) error { return os.Link(beside("own"), swap) },
	)
	within(t, 30*time.Second, func() {
		for range 2000 {
			provider, err := Open(t.Context(), cfg)
			if err == nil && provider.held.Load().current != rfc8410KID {
				t.Error("a symlink was followed")
				return
			}
		}
	})
}

// whileSwapping puts other files in the place of path, over and over, until the
// test ends.
func whileSwapping(t *testing.T, path string, makers ...func(swap string) error) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(stop); <-stopped })
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_ = makers[i%len(makers)](path + ".swap")
				_ = os.Rename(path+".swap", path)
			}
		}
	}()
}

func TestMissingKeysAndBadConfigurations(t *testing.T) {
	cfg := newConfig(t, "")
	mustNotOpen(t, cfg, capsign.KeyUnknown)
	generate(t, cfg)
	for name, broken := range map[string]struct {
		cfg  Config
		want capsign.Code
	}{
		"another name":           {renamed(cfg, "other"), capsign.KeyUnknown},
		"no name":                {renamed(cfg, ""), capsign.ConfigInvalid},
		"name with a line feed":  {renamed(cfg, "a\nb"), capsign.ConfigInvalid},
		"no directory":           {Config{KeyName: "cap-signing"}, capsign.ConfigInvalid},
		"directory not there":    {Config{Dir: cfg.Dir + "x", KeyName: "cap-signing"}, capsign.KeyUnknown},
		"directory a plain file": {Config{Dir: filepath.Join(cfg.Dir, "cap-signing.1.pem"), KeyName: "cap-signing"}, capsign.ConfigInvalid},
	} {
		t.Run(name, func(t *testing.T) { mustNotOpen(t, broken.cfg, broken.want) })
	}
}

func TestOneKeyInTwoVersionsIsRefused(t *testing.T) {
	cfg := newConfig(t, "")
	place(t, cfg, 1, testdata(t, "rfc8410-v1.pem"))
	place(t, cfg, 2, testdata(t, "rfc8410-v2.pem"))
	mustNotOpen(t, cfg, capsign.KeyFileInvalid)
}
