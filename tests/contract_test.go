package tests

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
	"github.com/capsign/cap/internal/providers/awskms"
	"github.com/capsign/cap/internal/providers/azurekms"
	"github.com/capsign/cap/internal/providers/gcpkms"
	"github.com/capsign/cap/internal/providers/providertest"
)

// TestCloudKMS holds a real cloud's key to the contract, where the environment
// names one: GCP_PROJECT and GCP_KEY (GCP_LOCATION, GCP_KEYRING, GCP_KEY_VERSION),
// AWS_KMS_KEY_ARN, AZURE_KEY_ID. Credentials are the vendor's own chain's. The
// providers' own tests do the same with each vendor's SDK and local servers.
func TestCloudKMS(t *testing.T) {
	t.Run("gcp", func(t *testing.T) {
		cfg, ok := gcpkms.ConfigFromEnvironment(os.Getenv)
		if !ok {
			providertest.Skip(t, "gcp, real", "GCP_PROJECT and GCP_KEY name no key")
		}
		cfg.KeyName = "cap-test"
		realKey(t, "gcp, real", func(ctx context.Context) (providers.Provider, error) { return opened(gcpkms.Open(ctx, cfg)) })
	})
	t.Run("aws", func(t *testing.T) {
		arn := os.Getenv("AWS_KMS_KEY_ARN")
		if arn == "" {
			providertest.Skip(t, "aws, real", "AWS_KMS_KEY_ARN names no key")
		}
		cfg := awskms.Config{Key: arn, KeyName: "cap-test"}
		realKey(t, "aws, real", func(ctx context.Context) (providers.Provider, error) { return opened(awskms.Open(ctx, cfg)) })
	})
	t.Run("azure", func(t *testing.T) {
		if os.Getenv("AZURE_KEY_ID") == "" {
			providertest.Skip(t, "azure, real", "AZURE_KEY_ID names no key")
		}
		cfg, err := azurekms.ConfigFor(os.Getenv("AZURE_KEY_ID"))
		if err != nil {
			t.Fatal(err)
		}
		cfg.KeyName = "cap-test"
		realKey(t, "azure, real", func(ctx context.Context) (providers.Provider, error) { return opened(azurekms.Open(ctx, cfg)) })
	})
}

// opened keeps a nil pointer from becoming a provider.
func opened[P providers.Provider](provider P, err error) (providers.Provider, error) {
	if err != nil {
		return nil, err
	}
	return provider, nil
}

// realKey holds a key that costs money to the contract, with few signatures and
// without making versions of it.
func realKey(t *testing.T, backend string, open func(context.Context) (providers.Provider, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	provider, err := open(ctx)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	kid, err := provider.CurrentKID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	key, err := provider.PublicKey(ctx, kid)
	if err != nil {
		t.Fatal(err)
	}
	if err := provider.Close(); err != nil {
		t.Error(err)
	}
	least, limit := 0, 0
	switch {
	case key.Alg == capsign.Ed25519 && key.Backend == "gcp":
		limit = 64 << 10
	case key.Alg == capsign.Ed25519 && key.Backend == "aws":
		least, limit = 1, 4096
	}
	providertest.Run(t, providertest.Config{
		Open: open, ProviderID: capsign.ProviderCloudKMS, KeyName: "cap-test", Alg: key.Alg,
		Class: capsign.ClassCloud, Backend: backend, MinMessage: least, MaxMessage: limit,
		NoGenerate: true, Signatures: 20, Callers: 8,
	})
}
