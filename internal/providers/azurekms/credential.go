package azurekms

import (
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/capsign/cap/capsign"
)

const (
	// renewBefore is how long before its end a token is replaced.
	renewBefore = 5 * time.Minute
	// renewPause is the least time between two tries to replace a token that is
	// still good.
	renewPause = 30 * time.Second
)

// credential keeps the vault's token. The SDK keeps it as well, but makes
// callers wait for a new one without regard to their deadlines, one after the
// other; ensure, which does regard them, is called before the SDK is, and so
// the SDK finds a good token here at once.
type credential struct {
	source azcore.TokenCredential
	busy   chan struct{} // holds one element while somebody gets a token
	held   atomic.Pointer[held]
}

// held is a token with the options it was asked for with. It does not change.
type held struct {
	options policy.TokenRequestOptions
	token   azcore.AccessToken
	tried   time.Time // when it was last tried to replace it
}

// newCredential returns the credential of the configuration.
func newCredential(cfg Config, tokens *transport) (*credential, error) {
	c := &credential{source: cfg.Credential, busy: make(chan struct{}, 1)}
	if c.source != nil {
		return c, nil
	}
	source, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
		ClientOptions: policy.ClientOptions{Transport: tokens, Retry: policy.RetryOptions{MaxRetries: -1}},
		// Only the authorities that MSAL knows can be asked about at Microsoft's;
		// it asks about no others. One that is named here is trusted for that.
		DisableInstanceDiscovery: os.Getenv("AZURE_AUTHORITY_HOST") != "",
	})
	if err != nil {
		return nil, refuse("credentials", capsign.CredentialsInvalid)
	}
	c.source = source
	return c, nil
}

// GetToken returns the token that is held, or gets one. The SDK calls it.
func (c *credential) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if h := c.held.Load(); h != nil && h.fits(options) && h.good() {
		return h.token, nil
	}
	return c.get(ctx, options)
}

// ensure replaces a token that is about to end, or has ended. As long as the
// old one is good, one caller does so and no error is told.
func (c *credential) ensure(ctx context.Context) error {
	h := c.held.Load()
	if h == nil || !h.due() {
		return nil // the first challenge says what to ask for
	}
	select {
	case c.busy <- struct{}{}:
	default:
		if h.good() {
			return nil
		}
		select {
		case c.busy <- struct{}{}:
		case <-ctx.Done():
			return refuse("token", capsign.ProviderTimeout)
		}
	}
	defer func() { <-c.busy }()
	if h = c.held.Load(); !h.due() {
		return nil
	}
	_, err := c.get(ctx, h.options)
	if err != nil && h.good() {
		c.held.CompareAndSwap(h, &held{h.options, h.token, time.Now()})
		return nil
	}
	return err
}

// forget makes the next call get another token than the one that was refused.
func (c *credential) forget(refused *held) {
	if refused != nil {
		c.held.CompareAndSwap(refused, &held{options: refused.options})
	}
}

// get gets a token and keeps it. Errors wrap a code.
func (c *credential) get(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	faults := new(requestFault)
	token, err := c.source.GetToken(context.WithValue(ctx, faultKey{}, faults), options)
	if err != nil {
		return azcore.AccessToken{}, refuse("token", tokenCode(ctx, err, faults))
	}
	options.Claims = "" // they ask for one token only
	c.held.Store(&held{options, token, time.Time{}})
	return token, nil
}

// tokenCode returns why there is no token. azidentity turns what happened to
// its requests into text, hence faults.
func tokenCode(ctx context.Context, err error, faults *requestFault) error {
	if ctx.Err() != nil || isDone(err) {
		return capsign.ProviderTimeout
	}
	failed, ok := errors.AsType[*azidentity.AuthenticationFailedError](err)
	if !ok {
		return capsign.CredentialsInvalid // there are none
	}
	if failed.RawResponse != nil {
		switch code := answerCode(failed.RawResponse); failed.RawResponse.StatusCode {
		case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusConflict:
			return capsign.CredentialsInvalid
		default:
			return code
		}
	}
	if code := faults.last(); code != "" {
		return code
	}
	return capsign.CredentialsInvalid
}

// fits reports whether the token was asked for with the same options.
func (h *held) fits(options policy.TokenRequestOptions) bool {
	return options.Claims == "" && options.TenantID == h.options.TenantID && slices.Equal(options.Scopes, h.options.Scopes)
}

// good reports whether the token can be used.
func (h *held) good() bool { return time.Now().Before(h.token.ExpiresOn) }

// due reports whether it is time for another token.
func (h *held) due() bool {
	renew := h.token.RefreshOn
	if renew.IsZero() {
		renew = h.token.ExpiresOn.Add(-renewBefore)
	}
	now := time.Now()
	return !h.good() || now.After(renew) && now.Sub(h.tried) > renewPause
}

// faultKey is the context's key of a requestFault.
type faultKey struct{}

// requestFault takes what became of requests past whoever hides it.
type requestFault struct {
	mu   sync.Mutex
	code capsign.Code
}

// noteFault tells ctx's requestFault, if it has one.
func noteFault(ctx context.Context, code capsign.Code) {
	if f, ok := ctx.Value(faultKey{}).(*requestFault); ok {
		f.mu.Lock()
		f.code = code
		f.mu.Unlock()
	}
}

// last returns the last code that was noted; empty is none.
func (f *requestFault) last() capsign.Code {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.code
}
