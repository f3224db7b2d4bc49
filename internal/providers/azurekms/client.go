package azurekms

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/retry"
)

// client makes calls to one key of one vault, each within its caller's
// deadline.
type client struct {
	keys    *azkeys.Client
	tokens  *credential
	vault   *transport
	entra   *transport
	name    string
	timeout time.Duration
}

// first is the policy of the call that gets the first token: programs and
// machine identities take longer than an attempt at a signature may.
var first = retry.Policy{Tries: retry.Default.Tries, First: retry.Default.First}

// newClient checks cfg and returns a client. Nothing is sent yet.
func newClient(op string, cfg Config) (*client, error) {
	if err := cfg.check(op); err != nil {
		return nil, err
	}
	roots, err := cfg.roots(op)
	if err != nil {
		return nil, err
	}
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &client{
		vault: newTransport(cfg, roots, log, true), entra: newTransport(cfg, roots, log, false),
		name: cfg.Key, timeout: cmp.Or(cfg.CallTimeout, defaultCallTimeout),
	}
	if c.tokens, err = newCredential(cfg, c.entra); err != nil {
		return nil, err
	}
	// The challenge's resource is checked against the vault's name: the SDK's
	// DisableChallengeResourceVerification stays false.
	options := &azkeys.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: c.vault, Retry: policy.RetryOptions{MaxRetries: -1},
	}}
	if c.keys, err = azkeys.NewClient("https://"+cfg.host(), c.tokens, options); err != nil {
		return nil, refuse(op, capsign.ConfigInvalid)
	}
	return c, nil
}

// close closes the connections that are not in use.
func (c *client) close() {
	c.vault.close()
	c.entra.close()
}

// do makes one call, with the policy's tries, before ctx ends. Errors name op
// and wrap a code.
func (c *client) do(ctx context.Context, op string, tries retry.Policy, call func(context.Context) error) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	return tries.Do(ctx, func(ctx context.Context) error {
		if err := c.tokens.ensure(ctx); err != nil {
			return refuse(op, classify(err))
		}
		used := c.tokens.held.Load()
		err := call(ctx)
		if err == nil {
			return nil
		}
		code := classify(err)
		if errors.Is(code, capsign.CredentialsInvalid) {
			c.tokens.forget(used)
		}
		return refuse(op, code)
	})
}

// get returns a version of the key; an empty id means the newest, whatever its
// state.
func (c *client) get(ctx context.Context, op string, tries retry.Policy, id string) (azkeys.KeyBundle, error) {
	var bundle azkeys.KeyBundle
	err := c.do(ctx, op, tries, func(ctx context.Context) error {
		answer, err := c.keys.GetKey(ctx, c.name, id, nil)
		bundle = answer.KeyBundle
		return err
	})
	return bundle, err
}

// list returns the properties of all versions of the key, in no order.
func (c *client) list(ctx context.Context, op string) ([]*azkeys.KeyProperties, error) {
	var all []*azkeys.KeyProperties
	pager := c.keys.NewListKeyPropertiesVersionsPager(c.name, nil)
	for pager.More() {
		var page azkeys.ListKeyPropertiesVersionsResponse
		err := c.do(ctx, op, retry.Default, func(ctx context.Context) (err error) {
			page, err = pager.NextPage(ctx)
			return err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, page.Value...)
		if len(all) > maxVersions {
			return nil, refuse(op, capsign.Integrity) // pages without an end
		}
	}
	return all, nil
}

// maxVersions is more versions than a key may have.
const maxVersions = 10_000

// sign has the vault sign a digest with one version and returns the signature
// as the vault encodes it. An answer in the name of another version wraps
// [capsign.Integrity].
func (c *client) sign(ctx context.Context, v *version, digest []byte) ([]byte, error) {
	alg := azkeys.SignatureAlgorithm(v.key.Alg) // both have JOSE's names
	var signature []byte
	err := c.do(ctx, "sign", retry.Default, func(ctx context.Context) error {
		answer, err := c.keys.Sign(ctx, v.name, v.key.Version, azkeys.SignParameters{Algorithm: &alg, Value: digest}, nil)
		if err != nil {
			return err
		}
		if answer.KID == nil || string(*answer.KID) != v.id {
			return capsign.Integrity
		}
		signature = answer.Result
		return nil
	})
	return signature, err
}
