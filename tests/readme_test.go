package tests

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// varying is what differs between two showings of the demo.
var varying = regexp.MustCompile(`[0-9a-f]{64}|"signature":"[^"]+"|"request_id":"[^"]+"|127\.0\.0\.1:\d+|\d+ ms`)

// TestReadmeShowsTheDemo runs the demo and compares it with the README's first
// transcript.
func TestReadmeShowsTheDemo(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(readme), "```console\n")
	shown, _, _ := strings.Cut(after, "```")

	var out, progress bytes.Buffer
	demo := exec.Command(filepath.Join(commands(t), "demo"), "-bin", commands(t))
	demo.Stdout, demo.Stderr = &out, &progress
	if err := demo.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), progress.String())
	}
	mask := func(text string) string { return varying.ReplaceAllString(text, "…") }
	if diff := cmp.Diff(mask(shown), mask(out.String())); diff != "" {
		t.Errorf("README.md shows something else than the demo: %s", diff)
	}
	if !strings.Contains(progress.String(), "signing 100%") {
		t.Errorf("no progress was shown:\n%s", progress.String())
	}
}
