package azurekms

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
)

// refuse returns the error of an operation. Nothing of the vendor's text gets
// in: azcore prints whole answers, with ids and addresses.
func refuse(op string, code error) error { return fmt.Errorf("azurekms: %s: %w", op, code) }

// classify returns the code, or the providers.Throttled, of a failed call of
// the SDK's. What our own parts below the SDK said goes first, then the vault's
// answer; the SDK's own reason comes last, because a context that is done hides
// the others.
func classify(err error) error {
	if throttled, ok := errors.AsType[providers.Throttled](err); ok {
		return throttled
	}
	if code, ok := errors.AsType[capsign.Code](err); ok {
		return code
	}
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return answerCode(answer.RawResponse)
	}
	if isDone(err) {
		return capsign.ProviderTimeout
	}
	if _, ok := errors.AsType[interface {
		error
		NonRetriable()
	}](err); ok {
		return capsign.CredentialsInvalid // the challenge is for another resource
	}
	return capsign.ProviderUnavailable // an answer that is not the vault's
}

// isDone reports whether a context ended the call.
func isDone(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// answerCode returns the code of an answer that is not a success.
func answerCode(answer *http.Response) error {
	switch status := answer.StatusCode; {
	case status == http.StatusBadRequest && answer.Request.Method == http.MethodPost:
		return capsign.UnsupportedAlg // all else that is posted was checked before
	case status == http.StatusUnauthorized:
		return capsign.CredentialsInvalid
	case status == http.StatusForbidden:
		return forbiddenCode(answer)
	case status == http.StatusNotFound:
		return capsign.KeyUnknown
	case status == http.StatusConflict:
		return capsign.KeyDisabled // deleted, or on its way
	case status == http.StatusTooManyRequests:
		return providers.Throttled{RetryAfter: retryAfter(answer.Header)}
	case status == http.StatusRequestTimeout || status >= 500 || status < 400:
		return capsign.ProviderUnavailable
	}
	return capsign.Internal
}

// disabledWords are the inner codes of a 403 that is about the key's state, and
// what its message says of it; any other 403 is about the caller's rights.
var disabledWords = []string{"KeyDisabled", "KeyExpired", "KeyNotYetValid", "disabled key", "expired key", "not yet valid"}

// forbiddenCode tells a key that does not sign from a caller who may not. Both
// are "Forbidden"; only the inner error, which the SDK leaves to its callers,
// says which.
func forbiddenCode(answer *http.Response) capsign.Code {
	body, err := runtime.Payload(answer)
	if err != nil {
		return capsign.ProviderDenied
	}
	var said struct {
		Error struct {
			Message string `json:"message"`
			Inner   struct {
				Code string `json:"code"`
			} `json:"innererror"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &said) != nil {
		return capsign.ProviderDenied
	}
	about := func(word string) bool {
		return said.Error.Inner.Code == word || said.Error.Inner.Code == "" && strings.Contains(said.Error.Message, word)
	}
	if slices.ContainsFunc(disabledWords, about) {
		return capsign.KeyDisabled
	}
	return capsign.ProviderDenied
}

// retryAfter returns how long the vault asks to be left alone; zero means that
// it does not say.
func retryAfter(header http.Header) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// transportCode returns the code of a request that got no whole answer.
func transportCode(err error) capsign.Code {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return capsign.TLSUntrusted
	}
	if timeout, ok := errors.AsType[net.Error](err); isDone(err) || ok && timeout.Timeout() {
		return capsign.ProviderTimeout
	}
	return capsign.ProviderUnavailable
}
