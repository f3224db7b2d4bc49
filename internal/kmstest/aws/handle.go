package aws

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/capsign/cap/internal/kmstest/fault"
)

// maxBody is the longest request that is read, in bytes.
const maxBody = 64 << 10

// operations are what the server can do, by name. Each gets the request's body
// and returns an answer that is encoded as JSON.
func (s *Server) operations() map[string]func(body []byte, broken fault.Kind) (any, error) {
	return map[string]func([]byte, fault.Kind) (any, error){
		"GetPublicKey":        s.getPublicKey,
		"Sign":                s.sign,
		"DescribeKey":         s.describeKey,
		"CreateKey":           s.createKey,
		"CreateAlias":         s.createAlias,
		"UpdateAlias":         s.updateAlias,
		"ListAliases":         s.listAliases,
		"ListResourceTags":    s.listResourceTags,
		"DisableKey":          s.setState(stateDisabled),
		"EnableKey":           s.setState(stateEnabled),
		"ScheduleKeyDeletion": s.setState(statePendingDeletion),
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	injected, _ := s.Faults.Take(name)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return // the client went away
	}
	if !s.pass(r, injected) {
		return
	}
	if injected.Kind == fault.Error {
		s.refuse(w, injected, body)
		return
	}
	answer, err := s.answer(r, name, body, injected.Kind)
	if err != nil {
		reply(w, err)
		return
	}
	encoded, err := json.Marshal(answer)
	if err != nil {
		reply(w, failure("KMSInternalException", "encoding"))
		return
	}
	if injected.Kind == fault.DropConnection {
		dropAfter(w, encoded)
	}
	write(w, http.StatusOK, encoded)
}

// pass waits for as long as the operation takes. It returns false when the
// client or the server leaves.
func (s *Server) pass(r *http.Request, injected fault.Fault) bool {
	wait := s.options.ServiceTime
	switch injected.Kind {
	case fault.Delay:
		wait += injected.Delay
	case fault.Hang:
		wait = 24 * time.Hour
	}
	if wait == 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
	case <-s.done:
	}
	return false
}

// answer runs the operation of this name for a request that is signed.
func (s *Server) answer(r *http.Request, name string, body []byte, broken fault.Kind) (any, error) {
	if r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		return nil, failure("UnknownOperationException", "")
	}
	if err := s.authenticate(r); err != nil {
		return nil, err
	}
	operation, ok := s.operations()[name]
	if !ok {
		return nil, failure("UnknownOperationException", "")
	}
	return operation(body, broken)
}

// authorization is the form of a SigV4 signature for the service.
var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/kms/aws4_request, ` +
	`SignedHeaders=[a-z0-9;-]*host;[a-z0-9;-]*x-amz-date[a-z0-9;-]*, Signature=[0-9a-f]{64}$`)

// authenticate checks all of a request's signature but the signature.
func (s *Server) authenticate(r *http.Request) error {
	header := r.Header.Get("Authorization")
	if header == "" {
		return failure("MissingAuthenticationTokenException", "Missing Authentication Token")
	}
	parts := authorization.FindStringSubmatch(header)
	if parts == nil {
		return failure("IncompleteSignatureException", "Authorization header requires 'Credential' parameter: "+header)
	}
	made, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || time.Since(made).Abs() > 15*time.Minute {
		return failure("InvalidSignatureException", "Signature expired: "+r.Header.Get("X-Amz-Date"))
	}
	if parts[3] != s.options.Region {
		return failure("InvalidSignatureException", "Credential should be scoped to a valid region.")
	}
	if s.options.AccessKey != "" && parts[1] != s.options.AccessKey {
		return failure("UnrecognizedClientException", "The security token included in the request is invalid.")
	}
	if r.Header.Get("X-Amz-Security-Token") == "expired" {
		return failure("ExpiredTokenException", "The security token included in the request is expired")
	}
	return nil
}

// serviceError is an answer that is none.
type serviceError struct {
	status int
	Type   string `json:"__type"`
	Text   string `json:"message"`
}

// Error returns the error's type and text.
func (e serviceError) Error() string { return e.Type + ": " + e.Text }

// failure returns the service's error of a type, with its status.
func failure(kind, text string) error {
	status := http.StatusBadRequest
	switch kind {
	case "KMSInternalException", "KeyUnavailableException":
		status = http.StatusInternalServerError
	case "DependencyTimeoutException":
		status = http.StatusServiceUnavailable
	}
	return serviceError{status, kind, text}
}

// refuse answers with an injected error. A code that is none of package fault's
// is the type of the error itself.
func (s *Server) refuse(w http.ResponseWriter, injected fault.Fault, body []byte) {
	who := "arn:aws:iam::" + s.options.Account + ":user/alice"
	switch injected.Code {
	case fault.NotFound:
		reply(w, failure("NotFoundException", "Key '"+s.arn("key/gone")+"' does not exist"))
	case fault.Disabled:
		reply(w, failure("DisabledException", s.arn("key/off")+" is disabled."))
	case fault.PermissionDenied:
		reply(w, failure("AccessDeniedException", "User: "+who+" is not authorized to perform: kms:Sign"))
	case fault.Unauthenticated:
		reply(w, failure("ExpiredTokenException", "The security token included in the request is expired"))
	case fault.Throttled:
		if injected.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(injected.RetryAfter.Seconds())))
		}
		reply(w, failure("ThrottlingException", "You have exceeded the rate at which you may call KMS."))
	case fault.Unavailable: // as by a proxy on the way
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "<html><body><h1>503 Service Unavailable</h1>"+s.options.Account+"</body></html>")
	case fault.Internal:
		reply(w, failure("KMSInternalException", s.arn("key/broken")))
	case fault.InvalidArgument: // the whole request comes back
		reply(w, failure("ValidationException", "1 validation error detected: Value '"+string(body)+"' failed to satisfy constraint"))
	case fault.Unimplemented:
		reply(w, failure("UnsupportedOperationException", s.arn("key/other")))
	case fault.DeadlineExceeded:
		reply(w, failure("DependencyTimeoutException", "timed out"))
	default:
		reply(w, failure(string(injected.Code), who))
	}
}

// reply answers with an error.
func reply(w http.ResponseWriter, err error) {
	refusal, ok := errors.AsType[serviceError](err)
	if !ok {
		refusal = serviceError{http.StatusInternalServerError, "KMSInternalException", err.Error()}
	}
	encoded, _ := json.Marshal(refusal) // two strings
	write(w, refusal.status, encoded)
}

// write answers with JSON.
func write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", rand.Text())
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// dropAfter sends half of the answer and closes the connection. Of an empty one,
// which clients do not read, nothing is sent.
func dropAfter(w http.ResponseWriter, body []byte) {
	if string(body) == "{}" {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}
