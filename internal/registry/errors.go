package registry

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"

	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/capsign/cap/capsign"
)

// Error is a failure of a registry's, not of the signer's or the keyring's. Of
// what the registry or the network has said, only the code is left.
type Error struct {
	// Op is what was being done.
	Op string
	// Code says what came of it.
	Code capsign.Code
}

// Error names the operation and the code.
func (e *Error) Error() string { return fmt.Sprintf("registry: %s: %s", e.Op, string(e.Code)) }

// Unwrap returns the code.
func (e *Error) Unwrap() error { return e.Code }

// failed returns the error of an operation on a registry.
func failed(op string, err error) error { return &Error{Op: op, Code: codeOf(err)} }

// codeOf maps an error of the registry client's to a code.
func codeOf(err error) capsign.Code {
	if code, ok := errors.AsType[capsign.Code](err); ok {
		return code
	}
	if response, ok := errors.AsType[*errcode.ErrorResponse](err); ok {
		return statusCode(response.StatusCode)
	}
	_, badCert := errors.AsType[x509.UnknownAuthorityError](err)
	_, badHost := errors.AsType[x509.HostnameError](err)
	_, badTime := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case badCert, badHost, badTime:
		return capsign.TLSUntrusted
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return capsign.RegistryUnavailable
	case errors.Is(err, errdef.ErrTooManyPages), errors.Is(err, errdef.ErrSizeExceedsLimit):
		return capsign.TooLarge
	case errors.Is(err, errdef.ErrNotFound):
		return capsign.ArtifactUnknown
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return capsign.Denied
	case errors.Is(err, content.ErrMismatchedDigest), errors.Is(err, content.ErrTrailingData):
		return capsign.Integrity
	}
	return capsign.RegistryUnavailable
}

// statusCode maps an HTTP status to a code.
func statusCode(status int) capsign.Code {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return capsign.Denied
	case http.StatusNotFound:
		return capsign.ArtifactUnknown
	}
	return capsign.RegistryUnavailable
}
