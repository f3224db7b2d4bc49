package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"crypto/rand"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/config"
	"github.com/capsign/cap/internal/providers"
	"github.com/capsign/cap/internal/providers/pkcs11"
)

// keysTimeout bounds what the keys commands do: a cloud's HSM takes its time.
const keysTimeout = 2 * time.Minute

// keysCommand returns "worker keys", which works on the backend itself, without
// a queue.
func keysCommand(flags *flags) *cobra.Command {
	group := &cobra.Command{Use: "keys", Short: "Make or check the key in its backend, without a queue", Args: cobra.NoArgs}
	command := func(use, short, long string, do func(context.Context, config.Config, backend, io.Writer) error) {
		group.AddCommand(&cobra.Command{
			Use: use, Short: short, Long: long, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				cfg, err := flags.config(cmd.Flags().Changed)
				if err != nil {
					return err
				}
				b, err := newBackend(cfg, pkcs11.OneLogin(), slog.New(slog.DiscardHandler))
				if err != nil {
					return err
				}
				ctx, cancel := context.WithTimeout(cmd.Context(), keysTimeout)
				defer cancel()
				return do(ctx, cfg, b, cmd.OutOrStdout())
			},
		})
	}
	command("generate", "Make the key's first or a further version", "generate makes a version of the configured key in its backend, not exportable where the\n"+
		"backend can promise that, and prints its kid. Running workers learn of it when they are\n"+
		"started again, or by cap keys generate, which does the same through the queue.", generateKey)
	command("check", "Sign a canary with every version of the key", "check opens the configured key and signs a message of its own with every version, without\n"+
		"touching a queue. A wrong PIN costs one try.", checkKeys)
	return group
}

// generateKey makes a key version and prints its kid.
func generateKey(ctx context.Context, _ config.Config, b backend, stdout io.Writer) error {
	kid, err := b.generate(ctx)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, kid)
	return err
}

// checkKeys signs a canary with every key version and prints a line for each.
func checkKeys(ctx context.Context, _ config.Config, b backend, stdout io.Writer) error {
	provider, err := b.open(ctx)
	if err != nil {
		return err
	}
	defer provider.Close() //nolint:errcheck // the process ends, and its memory with it
	keys, err := keysOf(ctx, provider)
	if err != nil {
		return err
	}
	var failed error
	for _, key := range keys {
		took, err := checkKey(ctx, provider, key)
		if err != nil {
			code := capsign.CodeOf(err)
			fmt.Fprintf(stdout, "%s  %s %s  %s: %s\n", key.KID, key.Class, key.Version, code, code.Sentence())
			failed = errors.Join(failed, err)
			continue
		}
		fmt.Fprintf(stdout, "%s  %s %s  signs in %.1f ms\n", key.KID, key.Class, key.Version, float64(took.Microseconds())/1000)
	}
	return failed
}

// checkKey signs a canary with one key version, verifies it, and returns how
// long the signature took.
func checkKey(ctx context.Context, provider providers.Provider, key capsign.Key) (time.Duration, error) {
	canary, began := []byte("cap canary "+rand.Text()), time.Now()
	sig, err := provider.Sign(ctx, key.KID, canary)
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	if sig.KID != key.KID || key.Verify(canary, sig.Bytes) != nil {
		return 0, fmt.Errorf("worker: canary: %w", capsign.Integrity)
	}
	return took, nil
}
