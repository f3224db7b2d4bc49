package pkcs11

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/capsign/cap/capsign"
)

// scope names this package's spans.
const scope = "github.com/capsign/cap/internal/providers/pkcs11"

// sessionWait names the span of waiting for a free session of the token.
const sessionWait = "wait cap.session"

// attrErrorType is why there was no session in the end.
const attrErrorType = attribute.Key("error.type")

// startWait starts the span of a wait, or none where the one around it is not
// recorded or name is empty.
func startWait(ctx context.Context, name string) trace.Span {
	if name == "" || !trace.SpanFromContext(ctx).IsRecording() {
		return noSpan
	}
	_, span := otel.Tracer(scope).Start(ctx, name)
	return span
}

// noSpan records nothing.
var noSpan = trace.SpanFromContext(context.Background())

// endWait ends the span of a wait that ended with err.
func endWait(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		code := string(capsign.CodeOf(err))
		span.SetAttributes(attrErrorType.String(code))
		span.SetStatus(codes.Error, code)
	}
	span.End()
}
