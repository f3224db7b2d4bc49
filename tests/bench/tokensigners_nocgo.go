//go:build !cgo || nopkcs11

package main

import (
	"context"
	"errors"

	"github.com/capsign/cap/capsign"
)

// callsModules says that this binary cannot load a module.
const callsModules = false

// errNoModules says that this binary loads no libraries.
var errNoModules = errors.New("built without cgo or with nopkcs11")

// openProvider opens nothing.
func openProvider(context.Context, string, capsign.Alg, [][]byte) (contenders, func() error, error) {
	return nil, nil, errNoModules
}

// openModule opens nothing.
func openModule(context.Context, string, capsign.Alg, [][]byte) (contenders, func() error, error) {
	return nil, nil, errNoModules
}
