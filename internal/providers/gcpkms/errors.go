package gcpkms

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
)

// refuse names the operation that failed; nil stays nil. err is a code, or
// [providers.Throttled].
func refuse(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("gcpkms: %s: %w", op, err)
}

// codeOf returns the code of a failed call, without any of its text; nil stays
// nil.
func codeOf(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return capsign.ProviderTimeout
	}
	st, _ := status.FromError(err)
	switch st.Code() {
	case codes.NotFound:
		return capsign.KeyUnknown
	case codes.FailedPrecondition:
		return capsign.KeyDisabled
	case codes.PermissionDenied:
		return capsign.ProviderDenied
	case codes.Unauthenticated:
		return capsign.CredentialsInvalid
	case codes.ResourceExhausted:
		return throttled(st)
	case codes.InvalidArgument, codes.OutOfRange:
		return capsign.Internal
	case codes.Unimplemented:
		return capsign.UnsupportedAlg
	case codes.DeadlineExceeded:
		return capsign.ProviderTimeout
	}
	if ctx.Err() != nil {
		return capsign.ProviderTimeout
	}
	if strings.Contains(st.Message(), untrustedText) {
		return capsign.TLSUntrusted
	}
	// UNAVAILABLE and ABORTED are passing by definition. INTERNAL and UNKNOWN are
	// the faults of KMS's own and of broken connections: signing again is safe.
	return capsign.ProviderUnavailable
}

// throttled returns the wait that a status asks for, if it does.
func throttled(st *status.Status) providers.Throttled {
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return providers.Throttled{RetryAfter: max(0, info.GetRetryDelay().AsDuration())}
		}
	}
	return providers.Throttled{}
}
