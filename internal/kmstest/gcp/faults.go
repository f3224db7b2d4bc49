package gcp

import (
	"context"
	"path"
	"strings"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/capsign/cap/internal/kmstest/fault"
)

// faultKey is the key of a call's fault in its context.
type faultKey struct{}

// faultOf returns the fault that a call breaks with.
func faultOf(ctx context.Context) fault.Fault {
	f, _ := ctx.Value(faultKey{}).(fault.Fault)
	return f
}

// statuses has the status that Google answers with for each error.
var statuses = map[fault.Code]codes.Code{
	fault.NotFound:         codes.NotFound,
	fault.Disabled:         codes.FailedPrecondition,
	fault.PermissionDenied: codes.PermissionDenied,
	fault.Unauthenticated:  codes.Unauthenticated,
	fault.Throttled:        codes.ResourceExhausted,
	fault.Unavailable:      codes.Unavailable,
	fault.Internal:         codes.Internal,
	fault.InvalidArgument:  codes.InvalidArgument,
	fault.Unimplemented:    codes.Unimplemented,
	fault.DeadlineExceeded: codes.DeadlineExceeded,
}

// intercept is around every gRPC call.
func (s *Server) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	incoming, _ := metadata.FromIncomingContext(ctx)
	if err := s.authenticate(len(incoming.Get("authorization")) > 0); err != nil {
		return nil, err
	}
	f, _ := s.Faults.Take(path.Base(info.FullMethod))
	if f.Kind == fault.DropConnection {
		if client, ok := peer.FromContext(ctx); ok {
			s.conns.cut(client.Addr.String())
		}
	}
	return s.answer(ctx, f, req, handle)
}

// authenticate counts a call's token, and wants one where there is TLS.
func (s *Server) authenticate(token bool) error {
	if token {
		s.tokens.Add(1)
	} else if !s.opts.Plaintext {
		return status.Errorf(codes.Unauthenticated, "Request is missing required authentication credential.")
	}
	return nil
}

// answer has a call answered, with its fault.
func (s *Server) answer(ctx context.Context, f fault.Fault, req any, handle grpc.UnaryHandler) (any, error) {
	if err := wait(ctx, s.opts.ServiceTime+f.Delay); err != nil {
		return nil, err
	}
	switch f.Kind {
	case fault.Error:
		return nil, faultError(f)
	case fault.Hang:
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	resp, err := handle(context.WithValue(ctx, faultKey{}, f), req)
	if err != nil {
		return nil, err
	}
	return corrupt(resp, f.Kind), nil
}

// faultError returns the status of an error that was asked for, with the words
// and names that Google's errors are full of.
func faultError(f fault.Fault) error {
	text := map[bool]string{true: "Quota exceeded", false: "Permission 'cloudkms.cryptoKeyVersions.useToSign' denied"}[f.Code == fault.Throttled]
	st := status.Newf(statuses[f.Code], "%s on resource %s/cryptoKeys/a (or it may not exist).", text, parent)
	if f.RetryAfter == 0 {
		return st.Err()
	}
	st, err := st.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(f.RetryAfter.Round(time.Microsecond))})
	if err != nil {
		return err
	}
	return st.Err()
}

// corrupt returns the answer as a fault of this kind leaves it.
func corrupt(resp any, kind fault.Kind) any {
	switch answer := resp.(type) {
	case *kmspb.AsymmetricSignResponse:
		answer = proto.CloneOf(answer)
		switch kind {
		case fault.CorruptSignature:
			answer.Signature[len(answer.GetSignature())/2] ^= 1
		case fault.CorruptChecksum:
			answer.SignatureCrc32C.Value ^= 1
		case fault.CorruptKeyID:
			answer.Name += "0"
		}
		return answer
	case *kmspb.PublicKey:
		answer = proto.CloneOf(answer)
		switch kind {
		case fault.CorruptChecksum:
			answer.PemCrc32C.Value ^= 1
		case fault.CorruptKeyID:
			answer.Name += "0"
		}
		return answer
	case *kmspb.ListCryptoKeyVersionsResponse:
		for _, v := range answer.GetCryptoKeyVersions() {
			if kind == fault.CorruptKeyID {
				v.Name = strings.Replace(v.GetName(), "/cryptoKeys/", "/cryptoKeys/another-", 1)
			}
		}
	}
	return resp
}
