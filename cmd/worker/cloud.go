package main

import (
	"context"
	"log/slog"

	"github.com/capsign/cap/internal/config"
	"github.com/capsign/cap/internal/providers"
	"github.com/capsign/cap/internal/providers/awskms"
	"github.com/capsign/cap/internal/providers/azurekms"
	"github.com/capsign/cap/internal/providers/gcpkms"
)

// cloudBackend reaches the key in the configured vendor's key management
// service.
func cloudBackend(cfg config.Config, log *slog.Logger) backend {
	switch cfg.Key.CloudKMS.Vendor {
	case config.VendorAWS:
		return awsBackend(cfg, log)
	case config.VendorAzure:
		return azureBackend(cfg, log)
	}
	return gcpBackend(cfg, log)
}

// gcpBackend reaches a key in Google Cloud KMS.
func gcpBackend(cfg config.Config, log *slog.Logger) backend {
	section := cfg.Key.CloudKMS
	key := gcpkms.Config{
		Project: section.Project, Location: section.Location, KeyRing: section.KeyRing, Key: section.Key,
		Version: section.Version, Endpoint: section.Endpoint, CAFile: section.CAFile,
		KeyName: cfg.KeyName(), Alg: section.Alg, CallTimeout: cfg.Key.SignTimeout, Log: log,
	}
	return backend{
		open:     func(ctx context.Context) (providers.Provider, error) { return asProvider(gcpkms.Open(ctx, key)) },
		generate: func(ctx context.Context) (string, error) { return gcpkms.Generate(ctx, key) },
	}
}

// awsBackend reaches a key in AWS KMS.
func awsBackend(cfg config.Config, log *slog.Logger) backend {
	section := cfg.Key.CloudKMS
	key := awskms.Config{
		Region: section.Region, Key: section.Key, Endpoint: section.Endpoint, CAFile: section.CAFile,
		KeyName: cfg.KeyName(), Alg: section.Alg, CallTimeout: cfg.Key.SignTimeout, Log: log,
	}
	return backend{
		open:     func(ctx context.Context) (providers.Provider, error) { return asProvider(awskms.Open(ctx, key)) },
		generate: func(ctx context.Context) (string, error) { return awskms.Generate(ctx, key) },
	}
}

// azureBackend reaches a key in Azure Key Vault.
func azureBackend(cfg config.Config, log *slog.Logger) backend {
	section := cfg.Key.CloudKMS
	key := azurekms.Config{
		VaultURL: section.VaultURL, Key: section.Key, Version: section.Version,
		Endpoint: section.Endpoint, CAFile: section.CAFile,
		KeyName: cfg.KeyName(), Alg: section.Alg, CallTimeout: cfg.Key.SignTimeout, Log: log,
	}
	return backend{
		open:     func(ctx context.Context) (providers.Provider, error) { return asProvider(azurekms.Open(ctx, key)) },
		generate: func(ctx context.Context) (string, error) { return azurekms.Generate(ctx, key) },
	}
}
