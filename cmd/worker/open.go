package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/config"
	"github.com/capsign/cap/internal/providers"
	"github.com/capsign/cap/internal/providers/fallback"
	"github.com/capsign/cap/internal/providers/pkcs11"
	"github.com/capsign/cap/internal/providers/software"
)

// backend is what holds the configured key.
type backend struct {
	// open opens the provider of the key.
	open func(ctx context.Context) (providers.Provider, error)
	// generate makes the key's first or a further version.
	generate func(ctx context.Context) (kid string, err error)
}

// newBackend returns the backend that the configuration names. Guard decides
// about logins to tokens.
func newBackend(cfg config.Config, guard pkcs11.LoginGuard, log *slog.Logger) (backend, error) {
	switch cfg.Key.Provider {
	case capsign.ProviderSoftware:
		return softwareBackend(cfg, log)
	case capsign.ProviderPKCS11:
		return tokenBackend(cfg, guard, log)
	}
	return cloudBackend(cfg, log), nil
}

// openProvider opens the backend's provider, with the software key behind it
// where the configuration names that as its fallback.
func (b backend) openProvider(ctx context.Context, cfg config.Config, log *slog.Logger) (providers.Provider, error) {
	if cfg.Key.Fallback == "" {
		return b.open(ctx)
	}
	spare, err := softwareBackend(cfg, log)
	if err != nil {
		return nil, err
	}
	key, err := spare.open(ctx)
	if err != nil {
		return nil, err
	}
	return fallback.New(ctx, cfg.Key.Provider, b.open, key, log)
}

// softwareBackend keeps the key in files.
func softwareBackend(cfg config.Config, log *slog.Logger) (backend, error) {
	section := cfg.Key.Software
	passphrase, err := readSecret("key.software.passphrase", section.PassphraseEnv, section.PassphraseFile)
	if err != nil {
		return backend{}, err
	}
	keys := software.Config{Dir: section.Dir, KeyName: cfg.KeyName(), Alg: section.Alg, Passphrase: passphrase}
	if keys.Dir == "" {
		keys.Dir = filepath.Join(cfg.Data, "keys")
	}
	return backend{
		open: func(ctx context.Context) (providers.Provider, error) {
			return openSoftware(ctx, keys, section.Generate, log)
		},
		generate: func(ctx context.Context) (string, error) { return software.Generate(ctx, keys) },
	}, nil
}

// openSoftware opens software keys and, where there are none and that is
// allowed, makes the first one.
func openSoftware(ctx context.Context, keys software.Config, generate bool, log *slog.Logger) (providers.Provider, error) {
	provider, err := software.Open(ctx, keys)
	if errors.Is(err, capsign.KeyUnknown) && generate {
		kid, err := software.Generate(ctx, keys)
		if err != nil {
			return nil, err
		}
		log.InfoContext(ctx, "key generated", "key_name", keys.KeyName, "kid", kid, "dir", keys.Dir)
		return openSoftware(ctx, keys, false, log)
	}
	return asProvider(provider, err)
}

// asProvider keeps a nil pointer from becoming a provider.
func asProvider[P providers.Provider](provider P, err error) (providers.Provider, error) {
	if err != nil {
		return nil, err
	}
	return provider, nil
}

// tokenBackend reaches the key through a PKCS#11 module.
func tokenBackend(cfg config.Config, guard pkcs11.LoginGuard, log *slog.Logger) (backend, error) {
	section := cfg.Key.PKCS11
	pin, err := readSecret("key.pkcs11.pin", section.PINEnv, section.PINFile)
	if err != nil {
		return backend{}, err
	}
	keyPIN, err := readSecret("key.pkcs11.key_pin", section.KeyPINEnv, section.KeyPINFile)
	if err != nil {
		return backend{}, err
	}
	id, err := hex.DecodeString(section.KeyID)
	if err != nil {
		return backend{}, fmt.Errorf("key.pkcs11.key_id: %w", capsign.ConfigInvalid)
	}
	token := pkcs11.Config{
		Module: section.Module, InitArgs: section.InitArgs,
		TokenLabel: section.TokenLabel, TokenSerial: section.TokenSerial, Slot: section.Slot,
		KeyLabel: section.KeyLabel, KeyID: id, KeyName: cfg.KeyName(), PIN: pin, KeyPIN: keyPIN,
		Alg: section.Alg, Sessions: section.Sessions, Class: section.Class,
		CallTimeout: cfg.Key.SignTimeout * 4 / 5, // so that a hung call is known as one before its request gives up
		Guard:       guard, Log: log,
	}
	return backend{
		open: func(ctx context.Context) (providers.Provider, error) {
			return asProvider(pkcs11.Open(ctx, token))
		},
		generate: func(ctx context.Context) (string, error) { return pkcs11.Generate(ctx, token) },
	}, nil
}
