package p11test

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // of the shim's source
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

//go:embed chaos/chaos.c
var chaosSource []byte

// chaosFunctions is how many functions the shim counts, C_SignLength included.
const chaosFunctions = 69

// Chaos is a token behind a shim, itself a module, that counts every call and
// does to it what the rules say. Programs that fill the token go past it.
type Chaos struct {
	*Token // Module is the shim

	mu     sync.Mutex
	rules  []string // in force, each with its number
	number int      // of the last rule
	writes int64    // of the rules
}

// WithChaos puts the shim in front of tok's module. The test may have several.
// Token is a copy; tok itself stays as it is.
func WithChaos(t testing.TB, tok *Token) *Chaos {
	t.Helper()
	compiled, err := os.ReadFile(compileChaos(t))
	if err != nil {
		t.Fatal(err)
	}
	shim := filepath.Join(t.TempDir(), "chaos.so") // a copy, since a loader knows a file only once
	for suffix, text := range map[string][]byte{"": compiled, ".module": []byte(tok.Module), ".args": []byte(tok.InitArgs)} {
		if err := os.WriteFile(shim+suffix, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &Chaos{Token: tok.Variant(func(c *Token) { c.Module = shim })}
}

// Rule adds rules to those in force, for the next call of every process that
// uses the module. A rule is the name of a function, what to do and when:
//
//	C_Sign delay_ms=40          sleep before the call
//	C_Sign rv=0x30              return this and make no call
//	C_Sign after_rv=0x30        make the call, then return this
//	C_Sign hang                 wait until the rule is gone, then make the call
//	C_Sign flip                 flip one bit of the signature
//	C_SignInit wrongkey         use another private key of the same type
//	C_Sign crash                abort the process
//	C_Sign rv=0x30 after=10 count=3
//	any rv=0x32                 all functions but C_Initialize and C_Finalize
//
// After and count count the calls of all processes since the rule was added.
// C_SignLength is a C_Sign that only asks how long the signature will be, as
// miekg/pkcs11 does before each; C_Sign is one signature.
func (c *Chaos) Rule(t testing.TB, rules ...string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range rules {
		c.number++
		c.rules = append(c.rules, fmt.Sprintf("%d %s", c.number, r))
	}
	c.write(t)
}

// Clear removes all rules; what hangs goes on.
func (c *Chaos) Clear(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rules = nil
	c.write(t)
}

// write replaces the rules file by one with another time, which is what the
// shim looks at.
func (c *Chaos) write(t testing.TB) {
	t.Helper()
	c.writes++
	stamp := time.Unix(c.writes, 0)
	path := c.Module + ".rules"
	err := errors.Join(
		os.WriteFile(path+".new", []byte(strings.Join(c.rules, "\n")+"\n"), 0o600),
		os.Chtimes(path+".new", stamp, stamp),
		os.Rename(path+".new", path),
	)
	if err != nil {
		t.Fatal(err)
	}
}

// Count returns how often a function was called, by all processes and since
// WithChaos, the calls that a rule answered included.
func (c *Chaos) Count(t testing.TB, function string) int {
	t.Helper()
	entered, _ := c.calls(t, function)
	return entered
}

// Inside returns how many calls of a function have not returned: those that
// hang or are slow, and those whose process died.
func (c *Chaos) Inside(t testing.TB, function string) int {
	t.Helper()
	entered, left := c.calls(t, function)
	return entered - left
}

// calls reads the counters of a function, as struct counts of chaos.c has them.
func (c *Chaos) calls(t testing.TB, function string) (entered, left int) {
	t.Helper()
	counts, err := os.ReadFile(c.Module + ".counts")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0 // not loaded yet
	}
	if err != nil {
		t.Fatal(err)
	}
	const row, name = 40, 24
	for i := range chaosFunctions {
		r := counts[i*row : (i+1)*row]
		if string(bytes.TrimRight(r[:name], "\x00")) == function {
			return int(binary.NativeEndian.Uint64(r[name:])), int(binary.NativeEndian.Uint64(r[name+8:]))
		}
	}
	t.Fatalf("p11test: no function is called %q", function)
	return 0, 0
}

// compileChaos returns the path of the compiled shim, which the user's cache
// keeps for the next time.
func compileChaos(t testing.TB) string {
	t.Helper()
	sum := sha256.Sum256(chaosSource)
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	cache = filepath.Join(cache, "cap-p11test")
	path := filepath.Join(cache, "chaos-"+hex.EncodeToString(sum[:8])+".so")
	if _, err := os.Stat(path); err == nil {
		return path
	}

	cc := program(t, "gcc libc6-dev", "cc")
	headers, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/miekg/pkcs11").Output()
	if err != nil {
		t.Fatalf("p11test: the headers of github.com/miekg/pkcs11: %v", err)
	}
	fresh := path + "." + strconv.Itoa(os.Getpid())
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), cc, "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror",
		"-I", strings.TrimSpace(string(headers)), "-o", fresh, "-x", "c", "-", "-ldl", "-lpthread")
	cmd.Stdin = bytes.NewReader(chaosSource)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("p11test: cc: %v\n%s", err, out)
	}
	if err := os.Rename(fresh, path); err != nil {
		t.Fatal(err)
	}
	return path
}
