//go:build !linux

package p11test

import "syscall"

// dieWithParent does nothing: only Linux has it, and the rigs' parts.
func dieWithParent(*syscall.SysProcAttr) {}
