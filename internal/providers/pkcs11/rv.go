package pkcs11

import (
	"errors"
	"fmt"

	"github.com/capsign/cap/capsign"
)

// rv is a CK_RV, what a module's function returns (PKCS#11 v3.1, section 5.1).
type rv uint

// callError says which function of the module failed, and how. It stays inside
// the package: outside, an error carries a code and nothing of the vendor's.
type callError struct {
	function string // such as C_Sign
	rv       rv
}

// Error names the function and the number.
func (e callError) Error() string { return fmt.Sprintf("%s 0x%X", e.function, uint(e.rv)) }

// class says what may help after a failed call.
type class int

const (
	fatal   class = iota // nothing does: the same call would fail again
	session              // a new session
	login                // to log in and look for the keys again
	device               // to initialise the module again
)

// verdict is what a return value means to cap.
type verdict struct {
	name  string // without its prefix CKR_; empty for a value that is not listed
	class class
	code  capsign.Code
}

// verdicts lists the values that mean something of their own.
var verdicts = map[rv]verdict{
	0x1:   {"CANCEL", device, capsign.ProviderUnavailable},
	0x2:   {"HOST_MEMORY", device, capsign.ProviderUnavailable},
	0x3:   {"SLOT_ID_INVALID", device, capsign.TokenAbsent},
	0x5:   {"GENERAL_ERROR", device, capsign.ProviderUnavailable},
	0x6:   {"FUNCTION_FAILED", device, capsign.ProviderUnavailable},
	0x7:   {"ARGUMENTS_BAD", fatal, capsign.Internal},
	0x11:  {"ATTRIBUTE_SENSITIVE", fatal, capsign.UnsupportedAlg},
	0x12:  {"ATTRIBUTE_TYPE_INVALID", fatal, capsign.UnsupportedAlg},
	0x13:  {"ATTRIBUTE_VALUE_INVALID", fatal, capsign.UnsupportedAlg},
	0x1B:  {"ACTION_PROHIBITED", fatal, capsign.ProviderDenied},
	0x20:  {"DATA_INVALID", fatal, capsign.Internal},
	0x21:  {"DATA_LEN_RANGE", fatal, capsign.TooLarge},
	0x30:  {"DEVICE_ERROR", device, capsign.ProviderUnavailable},
	0x31:  {"DEVICE_MEMORY", device, capsign.ProviderUnavailable},
	0x32:  {"DEVICE_REMOVED", device, capsign.TokenAbsent},
	0x50:  {"FUNCTION_CANCELED", device, capsign.ProviderUnavailable},
	0x54:  {"FUNCTION_NOT_SUPPORTED", fatal, capsign.UnsupportedAlg},
	0x60:  {"KEY_HANDLE_INVALID", login, capsign.ProviderUnavailable},
	0x62:  {"KEY_SIZE_RANGE", fatal, capsign.UnsupportedAlg},
	0x63:  {"KEY_TYPE_INCONSISTENT", fatal, capsign.UnsupportedAlg},
	0x68:  {"KEY_FUNCTION_NOT_PERMITTED", fatal, capsign.ProviderDenied},
	0x70:  {"MECHANISM_INVALID", fatal, capsign.UnsupportedAlg},
	0x71:  {"MECHANISM_PARAM_INVALID", fatal, capsign.UnsupportedAlg},
	0x82:  {"OBJECT_HANDLE_INVALID", login, capsign.ProviderUnavailable},
	0x90:  {"OPERATION_ACTIVE", session, capsign.ProviderUnavailable},
	0x91:  {"OPERATION_NOT_INITIALIZED", session, capsign.ProviderUnavailable},
	0xA0:  {"PIN_INCORRECT", fatal, capsign.PINIncorrect},
	0xA1:  {"PIN_INVALID", fatal, capsign.PINIncorrect},
	0xA2:  {"PIN_LEN_RANGE", fatal, capsign.PINIncorrect},
	0xA3:  {"PIN_EXPIRED", fatal, capsign.TokenLocked},
	0xA4:  {"PIN_LOCKED", fatal, capsign.TokenLocked},
	0xB0:  {"SESSION_CLOSED", session, capsign.ProviderUnavailable},
	0xB1:  {"SESSION_COUNT", session, capsign.ProviderUnavailable},
	0xB3:  {"SESSION_HANDLE_INVALID", session, capsign.ProviderUnavailable},
	0xB5:  {"SESSION_READ_ONLY", fatal, capsign.ProviderDenied},
	0xD0:  {"TEMPLATE_INCOMPLETE", fatal, capsign.UnsupportedAlg},
	0xD1:  {"TEMPLATE_INCONSISTENT", fatal, capsign.UnsupportedAlg},
	0xE0:  {"TOKEN_NOT_PRESENT", device, capsign.TokenAbsent},
	0xE1:  {"TOKEN_NOT_RECOGNIZED", device, capsign.TokenAbsent},
	0xE2:  {"TOKEN_WRITE_PROTECTED", fatal, capsign.ProviderDenied},
	0x101: {"USER_NOT_LOGGED_IN", login, capsign.ProviderUnavailable},
	0x102: {"USER_PIN_NOT_INITIALIZED", fatal, capsign.TokenAbsent}, // no PIN was refused; SoftHSM says it while others log in
	0x130: {"DOMAIN_PARAMS_INVALID", fatal, capsign.UnsupportedAlg},
	0x140: {"CURVE_NOT_SUPPORTED", fatal, capsign.UnsupportedAlg},
	0x190: {"CRYPTOKI_NOT_INITIALIZED", device, capsign.ProviderUnavailable},
	0x200: {"FUNCTION_REJECTED", fatal, capsign.ProviderDenied},
}

// Values that are no failure where they are met.
const (
	rvAttributeSensitive   rv = 0x11
	rvAttributeTypeInvalid rv = 0x12
	rvAlreadyLoggedIn      rv = 0x100
	rvAlreadyInitialized   rv = 0x191
	rvVendor               rv = 1 << 31 // CKR_VENDOR_DEFINED, where vendors' own values start
)

// verdict returns what v means. Vendors' own values are taken for faults of the
// device; any other value that is not listed is not tried again.
func (v rv) verdict() verdict {
	if known, ok := verdicts[v]; ok {
		return known
	}
	if v >= rvVendor {
		return verdict{"VENDOR_DEFINED", device, capsign.ProviderUnavailable}
	}
	return verdict{"", fatal, capsign.ProviderUnavailable}
}

// classOf returns what may help after err; an error that is not a call's is
// fatal.
func classOf(err error) class {
	if call, ok := errors.AsType[callError](err); ok {
		return call.rv.verdict().class
	}
	return fatal
}

// isRV reports whether err is a call that returned v.
func isRV(err error, v rv) bool {
	call, ok := errors.AsType[callError](err)
	return ok && call.rv == v
}

// codeOf returns the one code that err means.
func codeOf(err error) capsign.Code {
	if call, ok := errors.AsType[callError](err); ok {
		return call.rv.verdict().code
	}
	if code, ok := errors.AsType[capsign.Code](err); ok && code.Known() {
		return code
	}
	return capsign.Internal
}

// refuse returns the error that leaves the package: what was being done, and
// the code; of a failed call nothing else.
func refuse(doing string, err error) error {
	if _, ok := errors.AsType[callError](err); ok {
		err = codeOf(err)
	}
	return fmt.Errorf("pkcs11: %s: %w", doing, err)
}
