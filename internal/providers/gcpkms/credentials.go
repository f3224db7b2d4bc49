package gcpkms

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	kms "cloud.google.com/go/kms/apiv1"
	"google.golang.org/grpc/codes"
	grpccredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/capsign/cap/capsign"
)

// tokens is the process's application default credentials. They are found once:
// a connection that is replaced goes on with the same token.
type tokens struct{ *auth.Credentials }

// findCredentials finds the application default credentials. It returns
// [capsign.CredentialsInvalid] where there are none that can be used. The SDK's
// search takes no context; on a machine without any it asks for a metadata server
// for some seconds, and ends by itself.
func findCredentials(ctx context.Context) (*tokens, error) {
	type result struct {
		found *auth.Credentials
		err   error
	}
	results := make(chan result, 1)
	go func() {
		found, err := credentials.DetectDefault(&credentials.DetectOptions{
			Scopes:           kms.DefaultAuthScopes(),
			UseSelfSignedJWT: true,
			Logger:           slog.New(slog.DiscardHandler),
		})
		results <- result{found, err}
	}()
	select {
	case <-ctx.Done():
		return nil, capsign.ProviderTimeout
	case r := <-results:
		if r.err != nil {
			return nil, capsign.CredentialsInvalid
		}
		r.found.TokenProvider = tokenSource{r.found.TokenProvider}
		return &tokens{r.found}, nil
	}
}

// tokenSource tells a token server that cannot be reached from one that refuses.
// gRPC takes a status from it as it is, and would call everything else
// UNAUTHENTICATED.
type tokenSource struct{ auth.TokenProvider }

// Token returns an access token.
func (t tokenSource) Token(ctx context.Context) (*auth.Token, error) {
	token, err := t.TokenProvider.Token(ctx)
	if err == nil {
		return token, nil
	}
	code := codes.Unauthenticated
	if refused, ok := errors.AsType[*auth.Error](err); ok {
		if refused.Response != nil && refused.Response.StatusCode >= http.StatusInternalServerError {
			code = codes.Unavailable
		}
	} else if ctx.Err() != nil {
		code = codes.DeadlineExceeded
	} else if _, ok := errors.AsType[net.Error](err); ok {
		code = codes.Unavailable
	}
	return nil, status.Error(code, "no access token")
}

// untrustedText stands in a connection's error for a certificate that is not
// trusted. gRPC passes on only the text of such an error, so that the text is
// cap's own.
const untrustedText = "cap: the certificate of the server is not trusted"

// errUntrusted has that text.
var errUntrusted = errors.New(untrustedText)

// trust marks handshakes that fail for the server's certificate.
type trust struct {
	grpccredentials.TransportCredentials
}

// ClientHandshake makes the handshake; its error is errUntrusted where the
// server's certificate is not trusted.
func (t trust) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, grpccredentials.AuthInfo, error) {
	conn, info, err := t.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if isUntrusted(err) {
		return nil, nil, errUntrusted
	}
	return conn, info, err
}

// Clone returns a copy that marks as well.
func (t trust) Clone() grpccredentials.TransportCredentials {
	return trust{t.TransportCredentials.Clone()}
}

// isUntrusted reports whether a handshake failed for the server's certificate.
func isUntrusted(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	_, ok := errors.AsType[x509.HostnameError](err)
	return ok
}
