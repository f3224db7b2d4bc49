package awskms

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
)

// serviceCodes says what the service's own error codes mean. Many of them, and
// throttling above all, come with the status 400.
var serviceCodes = map[string]error{
	"NotFoundException":   capsign.KeyUnknown,
	"InvalidArnException": capsign.KeyUnknown,

	"DisabledException":        capsign.KeyDisabled,
	"KMSInvalidStateException": capsign.KeyDisabled,

	"AccessDeniedException": capsign.ProviderDenied,
	"AccessDenied":          capsign.ProviderDenied,

	"UnrecognizedClientException":         capsign.CredentialsInvalid,
	"ExpiredTokenException":               capsign.CredentialsInvalid,
	"ExpiredToken":                        capsign.CredentialsInvalid,
	"InvalidClientTokenId":                capsign.CredentialsInvalid,
	"InvalidSignatureException":           capsign.CredentialsInvalid,
	"IncompleteSignature":                 capsign.CredentialsInvalid,
	"IncompleteSignatureException":        capsign.CredentialsInvalid,
	"MissingAuthenticationToken":          capsign.CredentialsInvalid,
	"MissingAuthenticationTokenException": capsign.CredentialsInvalid,
	"SignatureDoesNotMatch":               capsign.CredentialsInvalid,
	"RequestExpired":                      capsign.CredentialsInvalid,
	"OptInRequired":                       capsign.CredentialsInvalid,

	"ThrottlingException":      providers.Throttled{},
	"Throttling":               providers.Throttled{},
	"LimitExceededException":   providers.Throttled{},
	"TooManyRequestsException": providers.Throttled{},
	"RequestLimitExceeded":     providers.Throttled{},

	"KMSInternalException":       capsign.ProviderUnavailable,
	"DependencyTimeoutException": capsign.ProviderUnavailable,
	"KeyUnavailableException":    capsign.ProviderUnavailable,
	"InternalFailure":            capsign.ProviderUnavailable,
	"ServiceUnavailable":         capsign.ProviderUnavailable,

	"InvalidKeyUsageException":      capsign.UnsupportedAlg,
	"UnsupportedOperationException": capsign.UnsupportedAlg,
	"ValidationException":           capsign.UnsupportedAlg,

	"AlreadyExistsException": errAliasTaken,
}

// errAliasTaken says that an alias of the name exists; generate alone meets it.
var errAliasTaken = fmt.Errorf("alias taken: %w", capsign.Ambiguous)

// codeOf returns what an error of the SDK's means: one capsign.Code, alone or
// wrapped by this package's own types, and nothing of the SDK's text, which has
// ARNs, addresses and whole messages in it. What the service said comes before
// what became of the connection, and that before the end of ctx.
func codeOf(err error) error {
	if errors.Is(err, capsign.CredentialsInvalid) {
		return capsign.CredentialsInvalid // the chain's failure holds others' codes
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		if code, known := serviceCodes[api.ErrorCode()]; known {
			return code
		}
	}
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && response.HTTPStatusCode() >= 300 {
		return statusCode(response.HTTPStatusCode())
	}
	return transportCode(err)
}

// statusCode returns what an answer without a known error code means: it may
// be that of something on the way.
func statusCode(status int) error {
	switch status {
	case http.StatusUnauthorized:
		return capsign.CredentialsInvalid
	case http.StatusForbidden:
		return capsign.ProviderDenied
	case http.StatusTooManyRequests:
		return providers.Throttled{}
	case http.StatusBadRequest:
		return capsign.Internal
	}
	return capsign.ProviderUnavailable
}

// transportCode returns what it means that there was no answer, or only a part
// of one.
func transportCode(err error) error {
	if distrusted(err) {
		return capsign.TLSUntrusted
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return capsign.ProviderTimeout
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return capsign.ProviderTimeout
	}
	if _, ok := errors.AsType[*smithy.SerializationError](err); ok {
		return capsign.Internal
	}
	return capsign.ProviderUnavailable
}

// distrusted reports whether the endpoint's certificate was refused.
func distrusted(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return true
	}
	_, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok
}
