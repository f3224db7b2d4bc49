package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// exits STATUS COMMAND… runs a command that must end with this very status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND…")
	}
	status := 0
	err := ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		status = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(status) != args[0] {
		ts.Fatalf("exit status %d, want %s", status, args[0])
	}
}

// members NAME… checks that stdout is one JSON object on one line with exactly
// these members, in this order.
func members(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("unsupported: ! members")
	}
	out := ts.ReadFile("stdout")
	if strings.Count(out, "\n") != 1 || !strings.HasSuffix(out, "\n") {
		ts.Fatalf("not one line: %q", out)
	}
	if names := memberNames(ts, out); !slices.Equal(names, args) {
		ts.Fatalf("members are %v", names)
	}
}

// memberNames returns the names of an object's members in their order.
func memberNames(ts *testscript.TestScript, object string) []string {
	var names []string
	decoder := json.NewDecoder(strings.NewReader(object))
	_, err := decoder.Token() // {
	ts.Check(err)
	for decoder.More() {
		name, err := decoder.Token()
		ts.Check(err)
		names = append(names, name.(string))
		var value json.RawMessage
		ts.Check(decoder.Decode(&value))
	}
	return names
}

// save VARIABLE MEMBER sets a variable to a member of the JSON object on
// stdout; MEMBER may be a path as in keys.0.kid.
func save(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: save VARIABLE MEMBER")
	}
	var value any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &value))
	for step := range strings.SplitSeq(args[1], ".") {
		switch at := value.(type) {
		case map[string]any:
			value = at[step]
		case []any:
			i, err := strconv.Atoi(step)
			ts.Check(err)
			value = at[i]
		}
	}
	text, ok := value.(string)
	if !ok {
		ts.Fatalf("%s is %v", args[1], value)
	}
	ts.Setenv(args[0], text)
}

// flip FILE BIT changes one bit of a file; a negative number counts from the
// end.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE BIT")
	}
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	bit, err := strconv.Atoi(args[1])
	ts.Check(err)
	if bit < 0 {
		bit += 8 * len(data)
	}
	data[bit/8] ^= 1 << (bit % 8)
	ts.Check(os.WriteFile(path, data, 0o600))
}

// fill FILE SIZE makes a file of so many bytes.
func fill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fill FILE SIZE")
	}
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.Repeat([]byte{0xca}, size), 0o600))
}

// fifo FILE makes a named pipe.
func fifo(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fifo FILE")
	}
	ts.Check(syscall.Mkfifo(ts.MkAbs(args[0]), 0o600))
}
