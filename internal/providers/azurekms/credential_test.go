package azurekms

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/azure"
	"github.com/capsign/cap/internal/kmstest/fault"
)

// withEnvironment makes the configuration use azidentity's own credentials, as
// a worker does.
func withEnvironment(t *testing.T, vault *azure.Server, cfg Config) Config {
	t.Helper()
	for _, variable := range vault.Environment() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	cfg.Credential = nil
	return cfg
}

func TestEnvironmentCredentials(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	cfg = withEnvironment(t, vault, cfg)
	mustSign(t, open(t, cfg), "")
	if n := vault.Faults.Calls("Token"); n != 1 {
		t.Errorf("%d requests for a token, want 1", n)
	}

	for name, broken := range map[string]struct {
		variable, value string
		want            capsign.Code
	}{
		"wrong secret":     {"AZURE_CLIENT_SECRET", "wrong", capsign.CredentialsInvalid},
		"other client":     {"AZURE_CLIENT_ID", "22222222-0000-4000-8000-000000000002", capsign.CredentialsInvalid},
		"other tenant":     {"AZURE_TENANT_ID", "33333333-0000-4000-8000-000000000003", capsign.CredentialsInvalid},
		"no secret at all": {"AZURE_CLIENT_SECRET", "", capsign.CredentialsInvalid},
		"authority http":   {"AZURE_AUTHORITY_HOST", "http://127.0.0.1", capsign.CredentialsInvalid},
		"chain unknown":    {"AZURE_TOKEN_CREDENTIALS", "guess", capsign.CredentialsInvalid},
		"authority away":   {"AZURE_AUTHORITY_HOST", "https://127.0.0.1:1", capsign.ProviderUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(broken.variable, broken.value)
			mustNotOpen(t, "with "+name, cfg, broken.want)
		})
	}
}

// azidentity calls all that happens to it a failed authentication. A worker
// must know whether to wait or to call an operator.
func TestTokenEndpointFaults(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	cfg = withEnvironment(t, vault, cfg)
	for name, broken := range map[string]struct {
		fault fault.Fault
		want  capsign.Code
	}{
		"unavailable":      {fault.Fault{Kind: fault.Error, Code: fault.Unavailable, Method: "Token"}, capsign.ProviderUnavailable},
		"throttled":        {fault.Fault{Kind: fault.Error, Code: fault.Throttled, Method: "Token"}, capsign.Throttled},
		"denied":           {fault.Fault{Kind: fault.Error, Code: fault.PermissionDenied, Method: "Token"}, capsign.CredentialsInvalid},
		"hangs":            {fault.Fault{Kind: fault.Hang, Method: "Token"}, capsign.ProviderTimeout},
		"drops":            {fault.Fault{Kind: fault.DropConnection, Method: "Token"}, capsign.ProviderUnavailable},
		"discovery fails":  {fault.Fault{Kind: fault.Error, Code: fault.Unavailable, Method: "Discovery"}, capsign.ProviderUnavailable},
		"discovery drops":  {fault.Fault{Kind: fault.DropConnection, Method: "Discovery"}, capsign.ProviderUnavailable},
		"unavailable once": {fault.Fault{Kind: fault.Error, Code: fault.Unavailable, Method: "Token", Times: 1}, ""},
	} {
		vault.Faults.Set(broken.fault)
		if broken.want == "" {
			mustSign(t, open(t, cfg), "")
			continue
		}
		mustNotOpen(t, "when the token endpoint "+name, cfg, broken.want)
	}
	vault.Faults.Clear()
	vault.Present(fault.TLS(t).Untrusted)
	mustNotOpen(t, "with an untrusted token endpoint", cfg, capsign.TLSUntrusted)
}

// countingCredential counts what it was asked for.
type countingCredential struct {
	azcore.TokenCredential
	asked *atomic.Int64
}

// GetToken implements azcore.TokenCredential.
func (c countingCredential) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c.asked.Add(1)
	return c.TokenCredential.GetToken(ctx, options)
}

// A challenge for a resource that the vault does not belong to is an attempt to
// get a token that opens something else.
func TestMismatchedChallengeGetsNoToken(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	var asked atomic.Int64
	cfg.Credential = countingCredential{vault.Credential(), &asked}
	for name, resource := range map[string]string{
		"another service":      "https://management.azure.com",
		"another domain":       "https://vault.azure.net.evil.example",
		"the vault's sibling":  "https://other.vault.azure.net",
		"not a URL":            "vault",
		"nothing":              "",
		"a part of the domain": "https://ault.azure.net",
	} {
		vault.Challenge(vault.Endpoint()+"/tenant", resource)
		mustNotOpen(t, "challenged for "+name, cfg, capsign.CredentialsInvalid)
	}
	if asked.Load() != 0 || vault.Faults.Calls("GetKey") != 0 {
		t.Errorf("%d tokens, %d requests with one", asked.Load(), vault.Faults.Calls("GetKey"))
	}
}

// The SDK indexes the authority without looking: this must not end the worker.
func TestMalformedChallengeIsRefused(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	for _, authority := range []string{"x", "https://login", "https:", "//"} {
		vault.Challenge(authority, "https://vault.azure.net")
		mustNotOpen(t, "with the authority "+authority, cfg, capsign.CredentialsInvalid)
	}
}

func TestRevokedTokenIsReplaced(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	provider := open(t, cfg)
	vault.Revoke()
	_, err := provider.Sign(t.Context(), "", []byte("with a revoked token"))
	mustFail(t, "Sign with a revoked token", err, capsign.CredentialsInvalid)
	mustSign(t, provider, "")
	if n := vault.Tokens(); n != 2 {
		t.Errorf("%d tokens, want 2", n)
	}
}

// The SDK lets callers wait for the token that another one gets, whatever their
// own deadlines are.
func TestWaitingForATokenRegardsDeadlines(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	var hangs atomic.Bool
	hanging := make(chan struct{}, 100)
	cfg.Credential = tokenFunc(func(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
		if hangs.Load() {
			hanging <- struct{}{}
			<-ctx.Done()
			return azcore.AccessToken{}, ctx.Err()
		}
		token, err := vault.Credential().GetToken(ctx, options)
		token.ExpiresOn = time.Now().Add(-time.Second) // good for one call
		return token, err
	})
	provider := open(t, cfg)
	hangs.Store(true)
	var callers sync.WaitGroup
	callers.Go(func() {
		mustFail(t, "Sign of the first", signWithin(t, provider, 1500*time.Millisecond), capsign.ProviderTimeout)
	})
	<-hanging
	for range 20 {
		callers.Go(func() {
			mustFail(t, "Sign of a later one", signWithin(t, provider, 200*time.Millisecond), capsign.ProviderTimeout)
		})
	}
	callers.Wait()
	hangs.Store(false)
	mustSign(t, provider, "")
}

// A token that is still good goes on being used while there is no other.
func TestTokenIsUsedToItsEnd(t *testing.T) {
	vault, cfg := newKey(t, capsign.ES256)
	fails := errors.New("no token today")
	var failing atomic.Bool
	cfg.Credential = tokenFunc(func(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
		if failing.Load() {
			return azcore.AccessToken{}, fails
		}
		token, err := vault.Credential().GetToken(ctx, options)
		token.ExpiresOn = time.Now().Add(renewBefore / 2) // it is due at once
		return token, err
	})
	provider := open(t, cfg)
	failing.Store(true)
	for range 3 {
		mustSign(t, provider, "")
	}
}

// tokenFunc is a credential.
type tokenFunc func(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error)

// GetToken implements azcore.TokenCredential.
func (f tokenFunc) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return f(ctx, options)
}
