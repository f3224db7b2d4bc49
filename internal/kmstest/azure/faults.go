package azure

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/capsign/cap/internal/kmstest/fault"
)

// errorAnswer is one error of the vault's.
type errorAnswer struct {
	status               int
	code, inner, message string
}

// errorAnswers says what the vault answers for the errors that vendors share.
var errorAnswers = map[fault.Code]errorAnswer{
	fault.NotFound:         {404, "KeyNotFound", "", "A key with (name/id) cap-signer was not found in this key vault."},
	fault.Disabled:         {403, "Forbidden", "KeyDisabled", "Operation sign is not allowed on a disabled key."},
	fault.PermissionDenied: {403, "Forbidden", "ForbiddenByRbac", "Caller is not authorized to perform action on resource. Caller: appid=11111111"},
	fault.Unauthenticated:  {401, "Unauthorized", "", "AKV10022: Invalid audience."},
	fault.Throttled:        {429, "Throttled", "VaultRequestTypeLimitReached", "Request was not processed because too many requests were received."},
	fault.Unavailable:      {503, "ServiceUnavailable", "", "The service is temporarily unavailable."},
	fault.Internal:         {500, "InternalServerError", "", "An internal error occurred."},
	fault.InvalidArgument:  {400, "BadParameter", "", "Property has invalid value"},
	fault.Unimplemented:    {400, "NotSupported", "", "The requested operation is not supported."},
	fault.DeadlineExceeded: {504, "GatewayTimeout", "", "The gateway did not receive a response."},
}

// errorBody is the form of the vault's errors.
type errorBody struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Inner   any    `json:"innererror,omitempty"`
	} `json:"error"`
}

// refuse answers with an error of the vault's; an empty inner code is left out.
func (s *Server) refuse(w http.ResponseWriter, status int, code, inner, message string) {
	var body errorBody
	body.Error.Code, body.Error.Message = code, message
	if inner != "" {
		body.Error.Inner = map[string]string{"code": inner}
	}
	answer(w, status, body)
}

// answer writes a JSON body.
func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Ms-Request-Id", "5f0a7b4e-0000-4000-8000-000000000000")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that left learns nothing
}

// broken answers in the place of the handler, where the fault says so.
func (s *Server) broken(w http.ResponseWriter, r *http.Request, broken fault.Fault) bool {
	switch broken.Kind {
	case fault.Error:
		s.breakWith(w, broken)
	case fault.Delay:
		s.wait(r.Context(), broken.Delay)
		return false
	case fault.Hang:
		<-r.Context().Done()
	case fault.DropConnection:
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"kid":"https://`))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	default:
		return false
	}
	return true
}

// breakWith answers with the error of a fault.
func (s *Server) breakWith(w http.ResponseWriter, broken fault.Fault) {
	if broken.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(broken.RetryAfter.Seconds())))
	}
	if broken.Code == fault.Unauthenticated {
		s.challenge(w)
		return
	}
	as := errorAnswers[broken.Code]
	s.refuse(w, as.status, as.code, as.inner, as.message)
}
