package software

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/capsign/cap/capsign"
)

// maxFileSize is the longest key file, in bytes. A real one is below 1 KiB.
const maxFileSize = 64 << 10

// keyDir is an open directory with the files of one key in it.
type keyDir struct {
	*os.Root
	cfg Config
	op  string // what is being done, for errors
}

// openDir checks cfg and opens its directory, which must be safe. A missing
// directory wraps [capsign.KeyUnknown].
func (cfg Config) openDir(op string) (*keyDir, error) {
	if capsign.CheckKeyName(cfg.KeyName) != nil || cfg.Dir == "" || cfg.Passphrase != nil && len(cfg.Passphrase) == 0 {
		return nil, fmt.Errorf("software: %s: %w", op, capsign.ConfigInvalid)
	}
	root, err := os.OpenRoot(cfg.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("software: %s: %w", op, capsign.KeyUnknown)
	}
	if err != nil {
		return nil, fmt.Errorf("software: %s: %w", op, capsign.ConfigInvalid)
	}
	dir := &keyDir{Root: root, cfg: cfg, op: op}
	if err := dir.check(); err != nil {
		_ = root.Close()
		return nil, err
	}
	return dir, nil
}

// check refuses a directory in which others could replace a file.
func (d *keyDir) check() error {
	info, err := d.Stat(".")
	if err != nil {
		return d.ioError(err)
	}
	if info.Mode().Perm()&0o022 != 0 || !ownedBy(info, os.Geteuid(), 0) {
		return d.refuse(capsign.KeyFileUnsafe)
	}
	return nil
}

// versions returns the numbers of the key's versions, in rising order.
func (d *keyDir) versions() ([]int, error) {
	list, err := d.Open(".")
	if err != nil {
		return nil, d.ioError(err)
	}
	defer list.Close()
	names, err := list.Readdirnames(-1)
	if err != nil {
		return nil, d.ioError(err)
	}
	var numbers []int
	for _, name := range names {
		if n, ok := d.versionOf(name); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// fileName returns the name of version n's file.
func (d *keyDir) fileName(n int) string {
	return capsign.KeyToken(d.cfg.KeyName) + "." + strconv.Itoa(n) + ".pem"
}

// versionOf is fileName's inverse. A token has no dots, so that no file of
// another key's can be mistaken for this one's.
func (d *keyDir) versionOf(name string) (int, bool) {
	parts := strings.Split(name, ".")
	if len(parts) != 3 {
		return 0, false
	}
	n, err := strconv.Atoi(parts[1])
	return n, err == nil && n >= 1 && name == d.fileName(n)
}

// load reads and parses the key version in the file of this name.
func (d *keyDir) load(name string) (version, error) {
	data, err := d.read(name)
	if err != nil {
		return version{}, err
	}
	defer clear(data)
	private, err := parseKeyFile(data, d.cfg.Passphrase)
	if err != nil {
		return version{}, fmt.Errorf("software: %s: %w", d.op, err)
	}
	return newVersion(private, d.cfg.KeyName)
}

// read returns what is in the file of this name after making sure that nobody
// else could have read or written it. The checks are made on the open file.
// Open alone would follow a symlink, hence the look at the name before it, and
// would wait for a FIFO's writer, hence O_NONBLOCK.
func (d *keyDir) read(name string) ([]byte, error) {
	named, err := d.Lstat(name)
	if err != nil {
		return nil, d.ioError(err)
	}
	if !safeFile(named) {
		return nil, d.refuse(capsign.KeyFileUnsafe)
	}
	file, err := d.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, d.ioError(err)
	}
	defer file.Close()
	opened, err := file.Stat()
	if err != nil {
		return nil, d.ioError(err)
	}
	if !os.SameFile(named, opened) || !safeFile(opened) {
		return nil, d.refuse(capsign.KeyFileUnsafe)
	}
	data := make([]byte, maxFileSize+1)
	n, err := io.ReadFull(file, data)
	switch {
	case err == nil:
		clear(data)
		return nil, d.refuse(capsign.KeyFileInvalid)
	case !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
		clear(data)
		return nil, d.ioError(err)
	}
	return data[:n], nil
}

// safeFile reports whether a file is a regular one of this user's, closed to
// everybody else.
func safeFile(info fs.FileInfo) bool {
	return info.Mode().IsRegular() && info.Mode().Perm()&0o077 == 0 && ownedBy(info, os.Geteuid())
}

// ownedBy reports whether one of the users owns the file.
func ownedBy(info fs.FileInfo, users ...int) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && slices.Contains(users, int(stat.Uid))
}

// refuse returns the error that carries code.
func (d *keyDir) refuse(code capsign.Code) error {
	return fmt.Errorf("software: %s: %w", d.op, code)
}

// ioError returns the error for a failed system call, without its text: that
// has a path in it.
func (d *keyDir) ioError(err error) error { return d.refuse(ioCode(err)) }

// ioCode returns the code of a failed system call: a fault of the set-up that
// stays until somebody changes it, or one that may pass.
func ioCode(err error) capsign.Code {
	for _, lasting := range []error{fs.ErrPermission, syscall.ENOTDIR, syscall.EROFS, syscall.ELOOP, syscall.ENAMETOOLONG} {
		if errors.Is(err, lasting) {
			return capsign.ConfigInvalid
		}
	}
	return capsign.ProviderUnavailable
}
