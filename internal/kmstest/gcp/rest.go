package gcp

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/capsign/cap/internal/kmstest/fault"
)

// maxBody is the longest request body that is read, in bytes.
const maxBody = 1 << 20

// restCall is one call of the API as a URL has it.
type restCall struct {
	method string
	req    proto.Message
	handle func(ctx context.Context, req any) (any, error)
}

// serveREST answers the REST form of a call with the same service.
func (s *Server) serveREST(w http.ResponseWriter, r *http.Request) {
	call, err := s.restCall(r)
	if err == nil {
		err = s.authenticate(r.Header.Get("Authorization") != "")
	}
	if err != nil {
		writeStatus(w, err)
		return
	}
	f, _ := s.Faults.Take(call.method)
	resp, err := s.answer(r.Context(), f, call.req, call.handle)
	if err != nil {
		writeStatus(w, err)
		return
	}
	body, err := protojson.Marshal(resp.(proto.Message))
	if err != nil {
		writeStatus(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if f.Kind == fault.DropConnection {
		_, _ = w.Write(body[:len(body)/2])
		panic(http.ErrAbortHandler)
	}
	_, _ = w.Write(body)
}

// restCall finds the call that a request is, as the API's HTTP rules have it.
func (s *Server) restCall(r *http.Request) (restCall, error) {
	api, name := service{server: s}, strings.TrimPrefix(r.URL.Path, "/v1/")
	query := r.URL.Query()
	pageSize, _ := strconv.Atoi(query.Get("pageSize"))
	key, isKey := strings.CutSuffix(name, "/cryptoKeyVersions")
	signer, isSign := strings.CutSuffix(name, ":asymmetricSign")
	version, isPublic := strings.CutSuffix(name, "/publicKey")
	switch post := r.Method == http.MethodPost; {
	case post && isSign:
		req := &kmspb.AsymmetricSignRequest{}
		err := readBody(r, req)
		req.Name = signer
		return restCall{"AsymmetricSign", req, unary(api.AsymmetricSign)}, err
	case post && isKey:
		return restCall{"CreateCryptoKeyVersion", &kmspb.CreateCryptoKeyVersionRequest{Parent: key}, unary(api.CreateCryptoKeyVersion)}, nil
	case post:
	case isPublic:
		return restCall{"GetPublicKey", &kmspb.GetPublicKeyRequest{Name: version}, unary(api.GetPublicKey)}, nil
	case isKey:
		req := &kmspb.ListCryptoKeyVersionsRequest{Parent: key, Filter: query.Get("filter"), PageToken: query.Get("pageToken"), PageSize: int32(pageSize)}
		return restCall{"ListCryptoKeyVersions", req, unary(api.ListCryptoKeyVersions)}, nil
	default:
		return restCall{"GetCryptoKeyVersion", &kmspb.GetCryptoKeyVersionRequest{Name: name}, unary(api.GetCryptoKeyVersion)}, nil
	}
	return restCall{}, status.Error(codes.Unimplemented, "Method not found.")
}

// unary turns a method of the service into a handler as gRPC has it.
func unary[Req, Resp proto.Message](method func(context.Context, Req) (Resp, error)) func(context.Context, any) (any, error) {
	return func(ctx context.Context, req any) (any, error) { return method(ctx, req.(Req)) }
}

// readBody decodes a request's body.
func readBody(r *http.Request, req proto.Message) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err = errors.Join(err, protojson.Unmarshal(body, req)); err != nil {
		return status.Error(codes.InvalidArgument, "Invalid JSON payload received.")
	}
	return nil
}

// httpStatus has the HTTP status of each code; the rest is 500.
var httpStatus = map[codes.Code]int{
	codes.InvalidArgument:    http.StatusBadRequest,
	codes.FailedPrecondition: http.StatusBadRequest,
	codes.Unauthenticated:    http.StatusUnauthorized,
	codes.PermissionDenied:   http.StatusForbidden,
	codes.NotFound:           http.StatusNotFound,
	codes.ResourceExhausted:  http.StatusTooManyRequests,
	codes.Unimplemented:      http.StatusNotImplemented,
	codes.Unavailable:        http.StatusServiceUnavailable,
	codes.DeadlineExceeded:   http.StatusGatewayTimeout,
}

// codeNames has the names of codes that errors carry; the rest is UNKNOWN.
var codeNames = map[codes.Code]string{
	codes.InvalidArgument:    "INVALID_ARGUMENT",
	codes.FailedPrecondition: "FAILED_PRECONDITION",
	codes.Unauthenticated:    "UNAUTHENTICATED",
	codes.PermissionDenied:   "PERMISSION_DENIED",
	codes.NotFound:           "NOT_FOUND",
	codes.ResourceExhausted:  "RESOURCE_EXHAUSTED",
	codes.Unimplemented:      "UNIMPLEMENTED",
	codes.Unavailable:        "UNAVAILABLE",
	codes.DeadlineExceeded:   "DEADLINE_EXCEEDED",
	codes.Internal:           "INTERNAL",
}

// restError is the JSON of an error.
type restError struct {
	Code    int               `json:"code"`
	Message string            `json:"message"`
	Status  string            `json:"status"`
	Details []json.RawMessage `json:"details,omitzero"`
}

// writeStatus answers with an error.
func writeStatus(w http.ResponseWriter, err error) {
	st := status.Convert(err)
	code, ok := httpStatus[st.Code()]
	if !ok {
		code = http.StatusInternalServerError
	}
	out := restError{Code: code, Message: st.Message(), Status: codeNames[st.Code()]}
	for _, detail := range st.Proto().GetDetails() {
		if text, err := protojson.Marshal(detail); err == nil {
			out.Details = append(out.Details, text)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]restError{"error": out})
}
