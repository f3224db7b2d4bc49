package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/config"
	"github.com/capsign/cap/internal/providers"
)

const (
	// openTimeout bounds one try to open the provider.
	openTimeout = 30 * time.Second
	// maxReopen is the longest pause between two of them.
	maxReopen = 2 * time.Second
)

// awaitProvider opens the provider and, where it is away for the moment, goes
// on trying until ctx ends. Tell is told of every failure, for the pool's
// clients. What a further try cannot mend is returned: the codes of exit status
// 6 are passing, except that a hung module needs a new process.
func awaitProvider(ctx context.Context, b backend, cfg config.Config, log *slog.Logger, tell func(context.Context, capsign.Code)) (providers.Provider, error) {
	for n := 0; ; n++ {
		provider, err := within(ctx, openTimeout, func(ctx context.Context) (providers.Provider, error) {
			return b.openProvider(ctx, cfg, log)
		})
		if err == nil || ctx.Err() != nil {
			return provider, err
		}
		code := capsign.CodeOf(err)
		tell(ctx, code)
		if code.Fate() != capsign.FateHeld || !code.Retryable() || code == capsign.ProviderHung {
			return nil, err
		}
		log.WarnContext(ctx, "the provider is away; trying again", "code", string(code))
		select {
		case <-time.After(min(maxReopen, 200*time.Millisecond<<min(n, 10))):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// within calls f with a deadline.
func within[T any](ctx context.Context, d time.Duration, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}
