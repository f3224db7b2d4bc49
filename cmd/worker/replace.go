package main

import (
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
// environment. It returns only if that fails.
func replaceProcess(stderr io.Writer) error {
	fmt.Fprintln(stderr, "worker: a call into the key provider does not return; starting anew")
	time.Sleep(replacePause)
	path, err := os.Executable()
	if err == nil {
		err = syscall.Exec(path, os.Args, os.Environ()) //nolint:gosec // ourselves, as we were started
	}
	return fmt.Errorf("replace the process: %w (%w)", capsign.ProviderHung, err)
}
