package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// countFsyncs adds to a row how often its load makes the server sync a file,
// per message. It runs the load once more against a server under strace, which
// is too slow for anything but counting; without strace the figure is missing.
func (b *bench) countFsyncs(ctx context.Context, res *result) (err error) {
	strace, lookErr := exec.LookPath("strace")
	if res.row.count == nil || res.skipped != "" || lookErr != nil {
		return nil
	}
	dir, err := os.MkdirTemp(b.dir, "fsyncs-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p := b.pass(filepath.Join(dir, "data"))
	trace := filepath.Join(dir, "trace")
	site, err := spawn(ctx, p, res.row.sync, strace, "-f", "-qq", "--seccomp-bpf", "-e", "trace=fsync,fdatasync,openat", "-o", trace)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.stop()) }()

	before, err := syncsIn(trace)
	if err != nil {
		return err
	}
	signed, err := countSignatures(ctx, p, site, res.row.count)
	if err != nil {
		return err
	}
	after, err := syncsIn(trace)
	if err != nil {
		return err
	}
	perMessage := float64(after-before) / float64(signed) * float64(res.row.items)
	res.samples = append(res.samples, figures{fsyncs: perMessage})
	fmt.Fprintf(b.log, "%s %s: %.2f fsyncs per message, over %d signatures\n", res.row.id, res.row.what, perMessage, signed)
	return nil
}

// syncsIn counts the calls in a trace so far that wait for the disk: fsync, and
// files opened to be written with O_SYNC.
func syncsIn(trace string) (int, error) {
	data, err := os.ReadFile(trace)
	if err != nil {
		return 0, err
	}
	n := 0
	for line := range bytes.Lines(data) {
		begun := !bytes.Contains(line, []byte("resumed>"))
		if begun && (bytes.Contains(line, []byte("sync(")) || bytes.Contains(line, []byte("O_SYNC"))) {
			n++
		}
	}
	return n, nil
}
