package azure

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// scope is what tokens for vaults are asked for under.
const scope = "https://vault.azure.net/.default"

// credential issues tokens without going through HTTP.
type credential struct{ server *Server }

// Credential returns a credential whose tokens the vault accepts, for tests
// that are not about Entra.
func (s *Server) Credential() azcore.TokenCredential { return credential{s} }

// GetToken issues a token.
func (c credential) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token := c.server.issue()
	return azcore.AccessToken{Token: token, ExpiresOn: time.Now().Add(c.server.opts.TokenLife)}, nil
}

// issue returns a new token.
func (s *Server) issue() string {
	token := "token-" + rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = time.Now().Add(s.opts.TokenLife)
	return token
}

// Tokens returns how many tokens were issued.
func (s *Server) Tokens() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tokens)
}

// Revoke makes all tokens issued so far invalid.
func (s *Server) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for token := range s.tokens {
		s.tokens[token] = time.Time{}
	}
}

// authorized reports whether the request has a token that is still good.
func (s *Server) authorized(r *http.Request) bool {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.tokens[token])
}

// challenge answers a request without a good token.
func (s *Server) challenge(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer authorization="`+*s.authority.Load()+`", resource="`+*s.resource.Load()+`"`)
	s.refuse(w, http.StatusUnauthorized, "Unauthorized", "", "AKV10000: Request is missing a Bearer or PoP token.")
}

// discovery is the OpenID configuration of the tenant.
func (s *Server) discovery(w http.ResponseWriter, r *http.Request) {
	base := s.Endpoint() + "/" + r.PathValue("tenant")
	answer(w, http.StatusOK, map[string]any{
		"issuer":                 base + "/v2.0",
		"authorization_endpoint": base + "/oauth2/v2.0/authorize",
		"token_endpoint":         base + "/oauth2/v2.0/token",
	})
}

// token is the client credentials grant of OAuth 2.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.PathValue("tenant") != s.opts.Tenant:
		refuseToken(w, http.StatusBadRequest, "invalid_request", "AADSTS90002: Tenant not found.")
	case r.FormValue("grant_type") != "client_credentials":
		refuseToken(w, http.StatusBadRequest, "unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type.")
	case r.FormValue("client_id") != s.opts.ClientID || r.FormValue("client_secret") != s.opts.ClientSecret:
		refuseToken(w, http.StatusUnauthorized, "invalid_client", "AADSTS7000215: Invalid client secret provided.")
	case !strings.Contains(r.FormValue("scope"), scope):
		refuseToken(w, http.StatusBadRequest, "invalid_scope", "AADSTS70011: The provided value for scope is not valid.")
	default:
		answer(w, http.StatusOK, map[string]any{
			"token_type": "Bearer", "expires_in": int(s.opts.TokenLife.Seconds()), "access_token": s.issue(),
		})
	}
}

// refuseToken answers with an error of OAuth 2.
func refuseToken(w http.ResponseWriter, status int, code, description string) {
	answer(w, status, map[string]any{"error": code, "error_description": description})
}
