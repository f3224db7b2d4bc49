package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/capsign/cap/capsign"
)

// base returns what the input is called in a statement: its name without
// directories, and nothing for stdin.
func (in input) base() string {
	if in.path == "-" {
		return ""
	}
	return filepath.Base(in.path)
}

// unread returns err, explained where the input's end has not come in time.
func (in input) unread(err error, timeout time.Duration) error {
	if err == nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if code := codeOf(err); code != capsign.BadRequest && code.Known() {
		return err // it is the queue that has not answered
	}
	return &fault{
		code:     capsign.BadRequest,
		sentence: fmt.Sprintf("%s did not end within %s.", in.flag, timeout),
		hint:     "--timeout bounds reading as well; give it longer.",
	}
}

// faultyFile is a file whose failures say what is wrong with which input.
type faultyFile struct {
	io.ReadCloser
	in input
}

// Read reads from the file.
func (f faultyFile) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = f.in.fault(err)
	}
	return n, err
}

// open opens an input of any size; of a pipe, once somebody writes to it.
func (a *app) open(ctx context.Context, in input) (io.ReadCloser, error) {
	if in.path == "-" {
		if isTerminal(a.stdin) {
			fmt.Fprintf(a.stderr, "reading %s from the terminal; Ctrl-D ends it\n", in.flag)
		}
		return faultyFile{io.NopCloser(a.stdin), in}, nil
	}
	file, err := await(ctx, func() (*os.File, error) { return os.Open(in.path) })
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, in.unread(err, a.flags.timeout)
	case err != nil:
		return nil, in.fault(err)
	}
	return faultyFile{file, in}, nil
}
