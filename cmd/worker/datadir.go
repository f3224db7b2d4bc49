package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/config"
)

// dataDir is a data directory that this process alone uses.
type dataDir struct {
	lock *os.File
}

// openDataDir creates the directory where it is missing and locks it. The lock
// ends with the process, however that ends.
func openDataDir(dir string) (*dataDir, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data: the directory cannot be created: %w", capsign.ConfigInvalid)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data: the directory cannot be written to: %w", capsign.ConfigInvalid)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close() // nothing was written
		return nil, fmt.Errorf("data: %w", capsign.DataDirInUse)
	}
	return &dataDir{lock}, nil
}

// close gives the directory up.
func (d *dataDir) close() { _ = d.lock.Close() } // the process ends; nothing is buffered

// newLog returns the log that the configuration asks for.
func newLog(cfg config.Log, w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: cfg.Level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
