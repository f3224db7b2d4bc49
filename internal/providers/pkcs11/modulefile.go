package pkcs11

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/capsign/cap/capsign"
)

// modulePath returns the real path of the library at path, which must be an
// absolute path of a regular file that looks like a PKCS#11 module. Anything
// else wraps [capsign.ModuleInvalid]: loading a library runs its code.
func modulePath(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", errModule
	}
	file, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", errModule
	}
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() {
		return "", errModule
	}
	// pkcs11-spy writes every PIN to its log.
	if strings.Contains(filepath.Base(path), "pkcs11-spy") || strings.Contains(filepath.Base(file), "pkcs11-spy") {
		return "", errModule
	}
	if runtime.GOOS == "linux" && !exportsFunctionList(file) {
		return "", errModule
	}
	return file, nil
}

// errModule says that a file is no module, or none that can be used.
var errModule = fmt.Errorf("load module: %w", capsign.ModuleInvalid)

// exportsFunctionList reports whether the ELF library at path defines
// C_GetFunctionList, without loading it.
func exportsFunctionList(path string) bool {
	library, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer library.Close()
	symbols, err := library.DynamicSymbols()
	if err != nil {
		return false
	}
	for _, symbol := range symbols {
		if symbol.Name == "C_GetFunctionList" && symbol.Section != elf.SHN_UNDEF {
			return true
		}
	}
	return false
}
