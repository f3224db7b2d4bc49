package pkcs11

import (
	"fmt"

	"github.com/capsign/cap/capsign"
)

// The flags of CK_TOKEN_INFO that a login depends on (PKCS#11 v3.1, section
// 3.2).
const (
	ckfLoginRequired      = 0x4
	ckfTokenInitialized   = 0x400
	ckfUserPINFinalTry    = 0x20000
	ckfUserPINLocked      = 0x40000
	ckfUserPINToBeChanged = 0x80000 // it has expired
)

// Why a PIN is not even tried.
var (
	errLocked   = fmt.Errorf("token says so: %w", capsign.TokenLocked)
	errFinalTry = fmt.Errorf("final try: %w", capsign.PINIncorrect)
)

// mayLogin says whether to try a PIN on a token with the flags. Where the
// next wrong one would lock it, somebody has to look at it first.
func mayLogin(flags uint) error {
	switch {
	case flags&(ckfUserPINLocked|ckfUserPINToBeChanged) != 0:
		return errLocked
	case flags&ckfUserPINFinalTry != 0:
		return errFinalTry
	}
	return nil
}
