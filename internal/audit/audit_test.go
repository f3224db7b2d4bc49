package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/audit"
)

// open opens a log that the test closes.
func open(t *testing.T, dir string) *audit.Log {
	t.Helper()
	log, err := audit.Open(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// write opens a log, appends n records from as many goroutines, and closes it.
func write(t *testing.T, dir string, n int) {
	t.Helper()
	log := open(t, dir)
	var writing sync.WaitGroup
	for i := range n {
		writing.Go(func() {
			if err := log.Append(t.Context(), audit.Record{RequestID: fmt.Sprint(i), Tenant: "local"}); err != nil {
				t.Error(err)
			}
		})
	}
	writing.Wait()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// today returns the path of the only file in dir.
func today(t *testing.T, dir string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no file: %v", err)
	}
	return paths[len(paths)-1]
}

func TestChainGoesOnAcrossOpenings(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	for range 3 {
		write(t, dir, 100)
	}
	if n, err := audit.Verify(dir); n != 300 || err != nil {
		t.Errorf("%d records, %v; want 300", n, err)
	}
	info, err := os.Stat(today(t, dir))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestWhatACrashCutShortIsRemoved(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, 3)
	file, err := os.OpenFile(today(t, dir), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(`{"v":1,"seq":4,"at":"20`); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Verify(dir); !errors.Is(err, capsign.AuditBroken) {
		t.Errorf("half a line verifies: %v", err)
	}
	write(t, dir, 2)
	if n, err := audit.Verify(dir); n != 5 || err != nil {
		t.Errorf("%d records, %v; want 5", n, err)
	}
}

func TestEveryTamperingShows(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, 5)
	path := today(t, dir)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	for name, spoilt := range map[string][]byte{
		"changed":  bytes.Replace(whole, []byte(`"tenant":"local"`), []byte(`"tenant":"other"`), 1),
		"removed":  bytes.Join([][]byte{lines[0], lines[2], lines[3]}, nil),
		"swapped":  bytes.Join([][]byte{lines[0], lines[2], lines[1], lines[3]}, nil),
		"repeated": bytes.Join([][]byte{lines[0], lines[0], lines[1]}, nil),
		"headless": bytes.Join(lines[1:], nil),
		"garbage":  append(bytes.Clone(whole), "nonsense\n"...),
	} {
		if err := os.WriteFile(path, spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := audit.Verify(dir); !errors.Is(err, capsign.AuditBroken) {
			t.Errorf("%s: %v, want %s", name, err, capsign.AuditBroken)
		}
	}
}

func TestLogThatCannotWriteSaysSoForEver(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	log := open(t, dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := log.Append(t.Context(), audit.Record{}); !errors.Is(err, capsign.AuditUnavailable) {
		t.Errorf("without a directory: %v", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := log.Append(t.Context(), audit.Record{}); !errors.Is(err, capsign.AuditUnavailable) {
		t.Errorf("after a gap: %v", err)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	if err := log.Append(context.Background(), audit.Record{}); !errors.Is(err, capsign.AuditUnavailable) {
		t.Errorf("after Close: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte(`{"v":1,"seq":1}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "2026-11-23.jsonl"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := audit.Verify(dir); err == nil && n > uint64(bytes.Count(text, []byte("\n")))+1 {
			t.Fatalf("%d records in %d lines", n, bytes.Count(text, []byte("\n")))
		}
		log, err := audit.Open(dir, true)
		if err != nil {
			return
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
