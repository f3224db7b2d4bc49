//go:build cgo && !nopkcs11

package pkcs11

/*
#cgo linux LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>

// The start of a CK_FUNCTION_LIST: its version, then pointers to functions in
// the order of PKCS#11 v2.40, section 5.1.
struct functions {
	unsigned char major, minor;
	void *function[68];
};

// probe reports whether C_GetFunctionList gives a list without holes among the
// first n functions. The wrapper asks neither, and a hole ends the process.
static int probe(const char *path, int n) {
	unsigned long (*get)(struct functions **);
	struct functions *list = NULL;
	void *module = dlopen(path, RTLD_LAZY);
	int i, whole;

	if (module == NULL)
		return 0;
	*(void **)&get = dlsym(module, "C_GetFunctionList");
	whole = get != NULL && get(&list) == 0 && list != NULL && list->major >= 2;
	for (i = 0; whole && i < n; i++)
		whole = list->function[i] != NULL;
	dlclose(module);
	return whole;
}
*/
import "C"

import (
	"unsafe"

	p11 "github.com/miekg/pkcs11"
)

// probedFunctions is how many functions of a module's list must be there: those
// up to C_SeedRandom and C_GenerateRandom, with all that are called here.
const probedFunctions = 65

// load loads the library at path, which must be one that modulePath accepted.
// What it is, is never unloaded again: its threads may outlast it.
func load(path string) (*p11.Ctx, error) {
	lib := p11.New(path)
	if lib == nil {
		return nil, errModule
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	if C.probe(name, probedFunctions) == 0 {
		return nil, errModule
	}
	return lib, nil
}

// initialize calls C_Initialize with args as its reserved string, unless args
// is empty. The module may keep the string, so it is never freed.
func initialize(lib *p11.Ctx, args string) error {
	if args == "" {
		return lib.Initialize()
	}
	return lib.Initialize(p11.InitializeWithReserved(unsafe.Pointer(C.CString(args))))
}
