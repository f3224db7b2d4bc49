package batch_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/batch"
)

// named is a source of fixed paths.
func named(paths ...string) batch.Source {
	return batch.Lines{From: strings.NewReader(strings.Join(paths, "\n"))}
}

// begin opens a run of paths, which begins it or takes it up.
func begin(t *testing.T, out string, paths ...string) *batch.Run {
	t.Helper()
	run, err := batch.Open(out, batch.Settings{What: batch.Contents}, named(paths...), false)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// note enters outcomes of paths.
func note(t *testing.T, run *batch.Run, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := run.Note(batch.Outcome{Path: path, Code: capsign.BadRequest}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRunIsOnDiskUntilItIsComplete(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	first := begin(t, out, "a", "b", "c")
	note(t, first, "a")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := begin(t, out, "a", "b", "c")
	if second.ID != first.ID || !second.Resumed || second.Tally.Done() != 1 {
		t.Errorf("taken up as %+v of %s", second, first.ID)
	}
	note(t, second, "b", "c")
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(out + ".run"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the complete run's directory: %v", err)
	}
	text, err := os.ReadFile(out)
	if err != nil || bytes.Count(text, []byte("\n")) != 3 {
		t.Errorf("%v: %s", err, text)
	}
}

// TestAnotherRunIsNotGoneOnWith takes a run up with what it was not begun with,
// and begins one where something lies already.
func TestAnotherRunIsNotGoneOnWith(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	run := begin(t, out, "a", "b")
	note(t, run, "a")
	if err := run.Close(); err != nil {
		t.Fatal(err)
	}
	taken := filepath.Join(t.TempDir(), "taken")
	if err := os.WriteFile(taken, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	contents := batch.Settings{What: batch.Contents}
	for name, test := range map[string]struct {
		out      string
		settings batch.Settings
		source   batch.Source
		want     error
	}{
		"other settings": {out, batch.Settings{What: batch.Checksum}, named("a", "b"), batch.ErrOther},
		"other files":    {out, contents, named("a", "c"), batch.ErrOther},
		"more files":     {out, contents, named("a", "b", "c"), batch.ErrOther},
		"nobody's file":  {taken, contents, named("a"), batch.ErrTaken},
	} {
		if _, err := batch.Open(test.out, test.settings, test.source, false); !errors.Is(err, test.want) {
			t.Errorf("%s: error %v, want %v", name, err, test.want)
		}
	}
	if text, err := os.ReadFile(taken); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
	if run := begin(t, out, "a", "b"); run.Tally.Done() != 1 {
		t.Errorf("taken up as %+v", run)
	}
}

// TestWhatIsNoFileHoldsNothingUp has a pipe that nobody writes to among files.
func TestWhatIsNoFileHoldsNothingUp(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	run := begin(t, filepath.Join(dir, "out"), pipe, dir)
	defer run.Close() //nolint:errcheck // nothing was noted
	n := 0
	for item := range run.Load(t.Context(), batch.Contents)(0) {
		if n++; !errors.Is(item.Err, capsign.BadRequest) || item.Message != nil {
			t.Errorf("%s: %q, %v", item.Ref, item.Message, item.Err)
		}
	}
	if n != 2 {
		t.Errorf("%d items", n)
	}
}

func TestOnlyOneProcessHasARun(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	run := begin(t, out, "a")
	defer run.Close()
	if _, err := batch.Open(out, batch.Settings{What: batch.Contents}, named("a"), true); !errors.Is(err, batch.ErrBusy) {
		t.Errorf("error %v, want %v", err, batch.ErrBusy)
	}
}

func TestWhatACrashLeavesIsCutOff(t *testing.T) {
	line := `{"path":"a","code":"bad_request"}` + "\n"
	for name, tail := range map[string]string{"nothing": "", "half a line": `{"path":"b","co`, "zeros": "\x00\x00\x00"} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			if err := begin(t, out, "a", "b").Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(out, []byte(line+tail), 0o600); err != nil {
				t.Fatal(err)
			}
			run := begin(t, out, "a", "b")
			if n := run.Tally.Done(); n != 1 {
				t.Errorf("%d outcomes, want 1", n)
			}
			note(t, run, "b")
			if err := run.Close(); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(out)
			if want := line + strings.Replace(line, `"a"`, `"b"`, 1); err != nil || string(text) != want {
				t.Errorf("%v: %q, want %q", err, text, want)
			}
		})
	}
}

func TestOutcomesOfSomethingElseAreNotGoneOnWith(t *testing.T) {
	for name, text := range map[string]string{
		"another file's": `{"path":"b","code":"bad_request"}` + "\n",
		"too many":       strings.Repeat(`{"path":"a","code":"bad_request"}`+"\n", 2),
		"no outcomes":    "hello\n",
		"more members":   `{"path":"a","more":1}` + "\n",
	} {
		out := filepath.Join(t.TempDir(), "out")
		if err := begin(t, out, "a").Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(out, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := batch.Open(out, batch.Settings{What: batch.Contents}, named("a"), false); !errors.Is(err, batch.ErrBroken) {
			t.Errorf("%s: error %v, want %v", name, err, batch.ErrBroken)
		}
		if left, err := os.ReadFile(out); err != nil || string(left) != text {
			t.Errorf("%s: the file was changed: %v", name, err)
		}
	}
}

func TestJournalForgetsWhatWasNotWritten(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	run := begin(t, out, "a")
	defer run.Close()
	journal := run.Journal()
	entry := capsign.Entry{
		N: 7, Expires: time.Unix(1, 0).UTC(), First: 0,
		Digests: [][]byte{bytes.Repeat([]byte{1}, 32)}, BodySHA256: strings.Repeat("ab", 32),
	}
	if err := journal.Append(entry); err != nil {
		t.Fatal(err)
	}
	if err := journal.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(out+".run", "requests.jsonl")
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(`{"n":8,`); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	var read []capsign.Entry
	for entry, err := range run.Journal().Entries() {
		if err != nil {
			t.Fatal(err)
		}
		read = append(read, entry)
	}
	if diff := cmp.Diff([]capsign.Entry{entry}, read); diff != "" {
		t.Error(diff)
	}
	entry.N = 8
	again := run.Journal()
	if err := again.Append(entry); err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range run.Journal().Entries() {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 2 {
		t.Errorf("%d entries, want 2", n)
	}
}

func TestTreeIsWalkedInOrder(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"b/2", "b/1", "a", "out", "out.run/list"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{"link", "b/link"} {
		if err := os.Symlink(filepath.Join(dir, "a"), filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	var found []string
	tree := batch.Tree{Paths: []string{dir, filepath.Join(dir, "link")}, Except: filepath.Join(dir, "out")}
	for artifact, err := range tree.Artifacts() {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, strings.TrimPrefix(artifact.Path, dir+"/"))
	}
	if want := []string{"a", "b/1", "b/2", "link"}; !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
}

func TestChecksumLineIsSha256sums(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"plain", "two  blanks", "*star", `back\slash`, "line\nend", "carriage\rreturn", "\xff\xfe", "ümlaut"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		sum := exec.Command("sha256sum", name)
		sum.Dir = dir
		want, err := sum.Output()
		if err != nil {
			t.Fatal(err)
		}
		artifact, err := batch.ParseChecksum(strings.TrimSuffix(string(want), "\n"))
		if err != nil || artifact.Path != name {
			t.Fatalf("%q: read as %q: %v", want, artifact.Path, err)
		}
		if got := batch.ChecksumLine(artifact.SHA256, name); got != string(want) {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestLinesThatAreNoChecksums(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	for _, line := range []string{"", "hello", sum, sum + " ", sum + "  ", sum + " name", sum + "\tname", sum[1:] + "  name", "zz" + sum[2:] + "  name", sum + "  na\x00me"} {
		if _, err := batch.ParseChecksum(line); capsign.CodeOf(err) != capsign.BadRequest {
			t.Errorf("%q: error %v", line, err)
		}
	}
	if artifact, err := batch.ParseChecksum(strings.ToUpper(sum) + " *name\r"); err != nil || artifact != (batch.Artifact{Path: "name", SHA256: sum}) {
		t.Errorf("binary mode, upper case and CRLF: %+v, %v", artifact, err)
	}
}

func FuzzParseChecksum(f *testing.F) {
	sum := strings.Repeat("0f", 32)
	f.Add(sum + "  name")
	f.Add(`\` + sum + `  a\\b\nc\rd`)
	f.Fuzz(func(t *testing.T, line string) {
		artifact, err := batch.ParseChecksum(line)
		if err != nil {
			return
		}
		again, err := batch.ParseChecksum(strings.TrimSuffix(batch.ChecksumLine(artifact.SHA256, artifact.Path), "\n"))
		if err != nil || again != artifact {
			t.Fatalf("%q is read as %q, and that as %q: %v", line, artifact, again, err)
		}
	})
}

func FuzzOutcomes(f *testing.F) {
	f.Add([]byte(`{"path":"a","code":"too_large"}` + "\n" + `{"path":`))
	f.Add([]byte(`{"path":"a","sha256":"00","kid":"k","alg":"Ed25519","signature":"AA==","request_id":"x"}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		out := filepath.Join(t.TempDir(), "out")
		if err := begin(t, out, "a", "b").Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(out, text, 0o600); err != nil {
			t.Fatal(err)
		}
		run, err := batch.Open(out, batch.Settings{What: batch.Contents}, named("a", "b"), false)
		if err != nil {
			return
		}
		note(t, run, []string{"a", "b"}[run.Tally.Done():]...)
		if err := run.Close(); err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(left) {
			if !json.Valid(line) || !bytes.HasSuffix(line, []byte("\n")) {
				t.Fatalf("half a line: %q", line)
			}
		}
		if n := bytes.Count(left, []byte("\n")); n != 2 {
			t.Fatalf("%d lines: %q", n, left)
		}
	})
}

func TestAFileIsReadWhenItsTurnComes(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, size int) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, bytes.Repeat([]byte{7}, size), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	paths := []string{write("none", 0), write("most", capsign.MaxMessageSize), write("more", capsign.MaxMessageSize+1), filepath.Join(dir, "missing"), dir}
	codes := map[string][]capsign.Code{
		batch.Contents: {"", "", capsign.TooLarge, capsign.BadRequest, capsign.BadRequest},
		batch.Checksum: {"", "", "", capsign.BadRequest, capsign.BadRequest},
	}
	for what, want := range codes {
		i := 0
		for item := range batch.LoadAll(t.Context(), what, named(paths...).Artifacts()) {
			var code capsign.Code
			if item.Err != nil {
				code = capsign.CodeOf(item.Err)
			}
			if code != want[i] || item.Ref != paths[i] || (code == "") != (item.Message != nil) {
				t.Errorf("%s of %s: code %q, want %q", what, paths[i], code, want[i])
			}
			if what == batch.Checksum && code == "" && string(item.Message) != fmt.Sprintf("%s  %s\n", item.Digest, paths[i]) {
				t.Errorf("the line is %q", item.Message)
			}
			i++
		}
		if i != len(paths) {
			t.Errorf("%d items of %d", i, len(paths))
		}
	}
	if batch.ContentsOf(t.Context(), paths[0], strings.Repeat("0", 64)) != nil {
		t.Error("contents of another digest were returned")
	}
}

func TestWhatOnlyARootSignsIsNotSent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	text := capsign.DSSEPAE(capsign.KeyringPayloadType, []byte("{}"))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for item := range batch.LoadAll(t.Context(), batch.Contents, named(path).Artifacts()) {
		if capsign.CodeOf(item.Err) != capsign.Denied || item.Message != nil {
			t.Errorf("error %v, want %s", item.Err, capsign.Denied)
		}
	}
}
