package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/capsign/cap/capsign"
)

// checkOutput refuses, before anything is signed, a path that a result could
// not be written to or that would overwrite the input.
func (a *app) checkOutput(out string, from ...input) error {
	if out == "-" && a.flags.json {
		return misuse("--json and --out - would both write to stdout.")
	}
	if isStdout(out) {
		return nil
	}
	return a.checkFile("--out", out, from...)
}

// checkFile is checkOutput for a flag that names a file.
func (a *app) checkFile(flag, out string, from ...input) error {
	info, err := os.Stat(out)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = os.Stat(filepath.Dir(out))
		if err == nil && info.IsDir() {
			return nil
		}
		return fileFault(flag, out, "there is no such directory")
	}
	switch {
	case err != nil:
		return fileFault(flag, out, reason(err))
	case info.IsDir():
		return fileFault(flag, out, "it is a directory")
	case !info.Mode().IsRegular():
		return nil // a device or a pipe may be both
	}
	for _, in := range from {
		if a.sameFile(in.path, out) {
			return misuse("%s and %s are the same file.", in.flag, flag)
		}
	}
	return nil
}

// isStdout reports whether a result goes to stdout.
func isStdout(out string) bool { return out == "" || out == "-" }

// writeRaw writes a result of bytes: to stdout as they are or, where a person
// would see them, as base64.
func (a *app) writeRaw(ctx context.Context, out string, data []byte) error {
	if isStdout(out) && isTerminal(a.stdout) {
		return a.printf("%s\n", base64.StdEncoding.EncodeToString(data))
	}
	return a.write(ctx, out, data)
}

// write writes a result. A file appears whole or not at all.
func (a *app) write(ctx context.Context, out string, data []byte) error {
	if isStdout(out) {
		return a.print(data)
	}
	return a.writeTo(ctx, "--out", out, data)
}

// writeTo writes a result to the file that a flag names.
func (a *app) writeTo(ctx context.Context, flag, out string, data []byte) error {
	_, err := await(ctx, func() (struct{}, error) { return struct{}{}, writeFile(out, data) })
	if err != nil {
		return fileFault(flag, out, reason(err))
	}
	return nil
}

// writeFile replaces a regular file, behind a link too, and writes to anything
// else as it is: a device or pipe must not be replaced.
func writeFile(path string, data []byte) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return writeInto(path, data)
	}
	if err == nil {
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
	}
	return renameio.WriteFile(path, data, 0o644)
}

// writeInto writes to a device or pipe.
func writeInto(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

// fileFault explains why the file that a flag names cannot be written.
func fileFault(flag, out, why string) error {
	return &fault{
		code:     capsign.BadRequest,
		sentence: fmt.Sprintf("%s %q cannot be written: %s.", flag, out, why),
	}
}
