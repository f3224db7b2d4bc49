package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/capsign/cap/capsign"
)

// replacePause keeps a process whose successor hangs as well from being
// replaced in a tight loop.
const replacePause = time.Second

// replaceProcess puts a fresh worker in the place of this one, whose threads are
// stuck inside a module and cannot be taken back: same process id, arguments and
// environment. It returns only if that fails, or if ctx ends before.
func replaceProcess(ctx context.Context, stderr io.Writer) error {
	fmt.Fprintln(stderr, "worker: a call into the key provider does not return; starting anew")
	select {
	case <-time.After(replacePause):
	case <-ctx.Done():
		return fmt.Errorf("replace the process: %w", capsign.ProviderHung)
	}
	path, err := os.Executable()
	if err == nil {
		err = syscall.Exec(path, os.Args, os.Environ()) //nolint:gosec // ourselves, as we were started
	}
	return fmt.Errorf("replace the process: %w (%w)", capsign.ProviderHung, err)
}
