package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"syscall"

	"github.com/capsign/cap/capsign"
)

// maxSignature is the most that cap reads of a signature.
const maxSignature = 64 << 10

// input is a flag that names a file to read, or "-" for stdin.
type input struct {
	flag, path string
}

// read returns the whole input. It reads at most one byte more than limit, and
// gives up with ctx, since a pipe may never end.
func (a *app) read(ctx context.Context, in input, limit int64) ([]byte, error) {
	if in.path == "-" && isTerminal(a.stdin) {
		fmt.Fprintf(a.stderr, "reading %s from the terminal; Ctrl-D ends it\n", in.flag)
	}
	data, err := await(ctx, func() ([]byte, error) { return a.readAll(in.path, limit+1) })
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, &fault{
			code:     capsign.BadRequest,
			sentence: fmt.Sprintf("%s did not end within %s.", in.flag, a.flags.timeout),
			hint:     "--timeout bounds reading as well; give it longer.",
		}
	case err != nil:
		return nil, in.fault(err)
	case int64(len(data)) > limit:
		return nil, in.tooLarge(limit)
	}
	return data, nil
}

// readAll reads up to limit bytes of a file or of stdin.
func (a *app) readAll(path string, limit int64) ([]byte, error) {
	from := a.stdin
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close() //nolint:errcheck // nothing was written
		from = file
	}
	return io.ReadAll(io.LimitReader(from, limit))
}

// fault explains why the input cannot be read.
func (in input) fault(err error) error {
	return &fault{
		code:     capsign.BadRequest,
		sentence: fmt.Sprintf("%s %q cannot be read: %s.", in.flag, in.path, reason(err)),
	}
}

// tooLarge refuses an input of more than limit bytes. Of a message that is too
// large, its hash can be signed.
func (in input) tooLarge(limit int64) error {
	f := &fault{
		code:     capsign.TooLarge,
		sentence: fmt.Sprintf("%s is larger than %d KiB.", in.flag, limit>>10),
	}
	if in.flag == "--in" {
		f.hint = "sign and verify its SHA-256 instead: openssl dgst -sha256 -binary " +
			shellWord(in.path) + " | cap keys sign --in -"
	}
	return f
}

// differ refuses inputs that are one and the same file.
func (a *app) differ(inputs ...input) error {
	for i, one := range inputs {
		for _, other := range inputs[:i] {
			if a.sameFile(one.path, other.path) {
				return misuse("%s and %s are the same file.", other.flag, one.flag)
			}
		}
	}
	return nil
}

// sameFile reports whether two paths lead to one file.
func (a *app) sameFile(one, other string) bool {
	infoOne, errOne := a.stat(one)
	infoOther, errOther := a.stat(other)
	if errOne != nil || errOther != nil {
		return one == other
	}
	return os.SameFile(infoOne, infoOther)
}

// stat describes the file behind a path or stdin.
func (a *app) stat(path string) (fs.FileInfo, error) {
	if path != "-" {
		return os.Stat(path)
	}
	if file, ok := a.stdin.(*os.File); ok {
		return file.Stat()
	}
	return nil, fs.ErrInvalid
}

// reason says in a few words what the operating system has against a file.
func reason(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return "it does not work"
}

// plainWord is what needs no quotes in a shell.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./][A-Za-z0-9_./-]*$`)

// shellWord returns path as a word that can be pasted into a shell, or FILE.
func shellWord(path string) string {
	if plainWord.MatchString(path) {
		return path
	}
	return "FILE"
}
