//go:build cgo && !nopkcs11

package pkcs11

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/pkcs11/p11test"
)

// A library may export C_GetFunctionList and be no module all the same.
func TestBrokenFunctionLists(t *testing.T) {
	const list = `struct list { unsigned char major, minor; void *function[68]; } holes = { 2, 40 };
`
	for name, source := range map[string]string{
		"fails":       `unsigned long C_GetFunctionList(void **l) { return 5; }`,
		"gives none":  `unsigned long C_GetFunctionList(void **l) { *l = 0; return 0; }`,
		"holes":       list + `unsigned long C_GetFunctionList(void **l) { *l = &holes; return 0; }`,
		"other names": `unsigned long C_Other(void **l) { return 0; }`,
	} {
		t.Run(plain.Replace(name), func(t *testing.T) {
			cfg := configFor(&p11test.Token{Module: compile(t, source), PIN: "1234"})
			mustNotOpen(t, cfg, capsign.ModuleInvalid)
			mustNotOpen(t, cfg, capsign.ModuleInvalid)
		})
	}
}

func TestOnlyWhatDefinesTheFunctionListIsLoaded(t *testing.T) {
	const caller = `unsigned long C_GetFunctionList(void **); unsigned long call(void **l) { return C_GetFunctionList(l); }`
	if exportsFunctionList(compile(t, caller)) {
		t.Error("a library that needs C_GetFunctionList was taken for one that has it")
	}
}

// compile returns the path of a library of the source.
func compile(t *testing.T, source string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "broken.so")
	cmd := exec.CommandContext(t.Context(), "cc", "-shared", "-fPIC", "-x", "c", "-o", path, "-")
	cmd.Stdin = strings.NewReader(source)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cc: %v: %s", err, out)
	}
	return path
}
