package gcpkms

import (
	"context"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/retry"
)

const (
	// firstPoll and lastPoll are the waits between two looks at a version that is
	// being made; they double in between.
	firstPoll, lastPoll = 50 * time.Millisecond, 2 * time.Second
	// generateTimeout bounds the making of a version whose context has no
	// deadline. An HSM may take a minute over an RSA key.
	generateTimeout = 5 * time.Minute
)

// Generate makes a further version of the CryptoKey, waits until KMS has it
// enabled, and returns its kid. The private key never leaves KMS. Where an error
// comes after the version was asked for, KMS may have made it all the same: it is
// then found by whoever opens the key later. Errors are those of [Open], and
// [capsign.ProviderTimeout] where ctx ends first; without a deadline that is
// after 5 minutes.
func Generate(ctx context.Context, cfg Config) (kid string, err error) {
	path, err := cfg.keyPath("generate key")
	if err != nil {
		return "", err
	}
	c, err := newClient(ctx, "generate key", cfg, dialGRPC)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.close() }() // the kid is what was asked for
	v, err := generate(ctx, c, path)
	if err != nil {
		return "", err
	}
	return v.key.KID, nil
}

// Generate makes a further version as the function Generate does, and holds it.
// The current version stays, and so does the pinned one where Config.Version pins
// one: the new version is then gone when the key is opened again.
func (p *Provider) Generate(ctx context.Context) (kid string, err error) {
	v, err := generate(ctx, p.client, p.key)
	if err != nil {
		return "", err
	}
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.held.Load().has(v.resource) { // Reload was faster
		return v.key.KID, nil
	}
	if err := p.hold("generate key", v); err != nil {
		return "", err
	}
	return v.key.KID, nil
}

// Reload holds the versions too that were enabled since. What is held already
// stays, disabled or not, and so does the current version. With a pinned version
// there is nothing to look for.
func (p *Provider) Reload(ctx context.Context) error { return p.load(ctx, "reload key") }

// generate makes a version and waits for it.
func generate(ctx context.Context, c *client, path keyPath) (version, error) {
	ctx, cancel := withTimeout(ctx, generateTimeout)
	defer cancel()
	// One try: the second of two would make a second version.
	made, err := callWith(ctx, "generate key", c, retry.Policy{}, func(ctx context.Context, sdk *kms.KeyManagementClient) (*kmspb.CryptoKeyVersion, error) {
		return sdk.CreateCryptoKeyVersion(ctx, &kmspb.CreateCryptoKeyVersionRequest{Parent: path.resource})
	})
	if err != nil {
		return version{}, err
	}
	if err := waitEnabled(ctx, c, made); err != nil {
		return version{}, err
	}
	return fetchVersion(ctx, "generate key", c, path, made.GetName())
}

// waitEnabled waits until KMS has made the version.
func waitEnabled(ctx context.Context, c *client, v *kmspb.CryptoKeyVersion) error {
	name := v.GetName()
	for pause := firstPoll; ; pause = min(2*pause, lastPoll) {
		switch v.GetState() {
		case kmspb.CryptoKeyVersion_ENABLED:
			return nil
		case kmspb.CryptoKeyVersion_PENDING_GENERATION:
		default:
			return refuse("generate key", capsign.KeyDisabled)
		}
		if !sleep(ctx, pause) {
			return refuse("generate key", capsign.ProviderTimeout)
		}
		var err error
		if v, err = call(ctx, "generate key", c, func(ctx context.Context, sdk *kms.KeyManagementClient) (*kmspb.CryptoKeyVersion, error) {
			return sdk.GetCryptoKeyVersion(ctx, &kmspb.GetCryptoKeyVersionRequest{Name: name})
		}); err != nil {
			return err
		}
	}
}

// sleep waits for d, and returns false where ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
