//go:build !cgo || nopkcs11

package pkcs11

import (
	"context"
	"fmt"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
)

var (
	_ providers.Provider  = (*Provider)(nil)
	_ providers.Generator = (*Provider)(nil)
)

// errNotBuilt is what everything returns that would need a module.
var errNotBuilt = fmt.Errorf("pkcs11: built without cgo: %w", capsign.ProviderNotBuilt)

// Provider is the provider of a worker that was built without cgo, or with the
// tag nopkcs11. There is never one: a module can only be called from C.
type Provider struct{}

// Open returns an error that wraps [capsign.ProviderNotBuilt].
func Open(context.Context, Config) (*Provider, error) { return nil, errNotBuilt }

// Generate returns an error that wraps [capsign.ProviderNotBuilt].
func Generate(context.Context, Config) (kid string, err error) { return "", errNotBuilt }

// ProviderID returns [capsign.ProviderPKCS11].
func (*Provider) ProviderID() string { return capsign.ProviderPKCS11 }

// CurrentKID returns an error that wraps [capsign.ProviderNotBuilt].
func (*Provider) CurrentKID(context.Context) (string, error) { return "", errNotBuilt }

// ListKIDs returns an error that wraps [capsign.ProviderNotBuilt].
func (*Provider) ListKIDs(context.Context) ([]string, error) { return nil, errNotBuilt }

// PublicKey returns an error that wraps [capsign.ProviderNotBuilt].
func (*Provider) PublicKey(context.Context, string) (capsign.Key, error) {
	return capsign.Key{}, errNotBuilt
}

// Sign returns an error that wraps [capsign.ProviderNotBuilt].
func (*Provider) Sign(context.Context, string, []byte) (capsign.Signature, error) {
	return capsign.Signature{}, errNotBuilt
}

// Generate returns an error that wraps [capsign.ProviderNotBuilt].
func (*Provider) Generate(context.Context) (string, error) { return "", errNotBuilt }

// Reload returns an error that wraps [capsign.ProviderNotBuilt].
func (*Provider) Reload(context.Context) error { return errNotBuilt }

// Close does nothing.
func (*Provider) Close() error { return nil }
