package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/config"
	"github.com/capsign/cap/internal/providers"
	"github.com/capsign/cap/internal/providers/software"
)

// openProvider opens the key provider that the configuration names.
func openProvider(ctx context.Context, cfg config.Config, log *slog.Logger) (providers.Provider, error) {
	switch cfg.Key.Provider {
	case capsign.ProviderSoftware:
		return openSoftware(ctx, cfg, log)
	default:
		return nil, fmt.Errorf("key.provider: this worker is built without the provider %s: %w",
			cfg.Key.Provider, capsign.ConfigInvalid)
	}
}

// openSoftware opens the software keys and, where there are none and the
// configuration allows it, makes the first one.
func openSoftware(ctx context.Context, cfg config.Config, log *slog.Logger) (providers.Provider, error) {
	passphrase, err := readPassphrase(cfg.Key.Software)
	if err != nil {
		return nil, err
	}
	keys := software.Config{
		Dir:     cfg.Key.Software.Dir,
		KeyName: cfg.KeyName(), Alg: cfg.Key.Software.Alg, Passphrase: passphrase,
	}
	if keys.Dir == "" {
		keys.Dir = filepath.Join(cfg.Data, "keys")
	}
	provider, err := software.Open(ctx, keys)
	if errors.Is(err, capsign.KeyUnknown) && cfg.Key.Software.Generate {
		kid, err := software.Generate(ctx, keys)
		if err != nil {
			return nil, err
		}
		log.InfoContext(ctx, "key generated", "key_name", keys.KeyName, "kid", kid, "dir", keys.Dir)
		return software.Open(ctx, keys)
	}
	return provider, err
}

// readPassphrase returns the passphrase of the key files, or nil where they
// are not encrypted.
func readPassphrase(cfg config.Software) ([]byte, error) {
	switch {
	case cfg.PassphraseEnv != "":
		value, set := os.LookupEnv(cfg.PassphraseEnv)
		if !set || value == "" {
			return nil, fmt.Errorf("key.software.passphrase_env: the variable is not set: %w", capsign.ConfigInvalid)
		}
		return []byte(value), nil
	case cfg.PassphraseFile != "":
		data, err := os.ReadFile(cfg.PassphraseFile)
		value := strings.TrimRight(string(data), "\r\n")
		if err != nil || value == "" {
			return nil, fmt.Errorf("key.software.passphrase_file: cannot be read or is empty: %w", capsign.ConfigInvalid)
		}
		return []byte(value), nil
	}
	return nil, nil
}
