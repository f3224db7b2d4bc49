package cli

import (
	"context"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/telemetry"
)

// exportTimeout bounds how long a command waits for the collector at its end.
const exportTimeout = time.Second

// startTelemetry starts OpenTelemetry as the OTEL_* variables say, by default
// not at all. stop exports the command's spans.
func startTelemetry(ctx context.Context) (stop func(), err error) {
	shutdown, err := telemetry.Start(ctx, "cap", Version)
	if err != nil {
		return nil, &fault{
			code: capsign.ConfigInvalid, sentence: "The OTEL_* environment variables cannot be used.",
			hint: "correct them, or set OTEL_SDK_DISABLED=true.",
		}
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exportTimeout)
		defer cancel()
		_ = shutdown(ctx) // lost telemetry is no reason to fail
	}, nil
}
