package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/config"
)

// resumeCommand returns "worker resume", which is cap pool resume for a worker
// that brings its own server: when it has ended, nobody else can be asked.
func resumeCommand(flags *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "resume",
		Short: "Let a pool that was stopped start again, as 'cap pool resume' does",
		Long: "resume does what 'cap pool resume' does where the worker that has ended was also the\n" +
			"server. Correct what stopped the pool first; then start the worker.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := flags.config(cmd.Flags().Changed)
			if err != nil {
				return err
			}
			return resume(cmd.Context(), cfg, cmd.OutOrStdout())
		},
	}
}

// resume resumes the configured pool.
func resume(ctx context.Context, cfg config.Config, stdout io.Writer) error {
	data, err := openDataDir(cfg.Data)
	if err != nil {
		return err
	}
	defer data.close()
	link, err := openBroker(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer link.close()
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	pool, err := capsign.ResumePool(ctx, link.nc, cfg.Pool)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "pool %s: %s\n", pool.Name, pool.State)
	return err
}
