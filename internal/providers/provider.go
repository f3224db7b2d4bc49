// Package providers defines what every backend that holds keys must do. Each
// backend is a package of its own below this one; they share this contract and
// the suite in providertest, and no code.
package providers

import (
	"context"
	"time"

	"github.com/capsign/cap/capsign"
)

// Provider holds the versions of one named key and signs with them. All its
// methods are safe for concurrent use, honour ctx's deadline, and on error
// return the zero value and an error that wraps exactly one [capsign.Code] and
// carries no text of the vendor's.
type Provider interface {
	// ProviderID returns the constant class name that goes into the kid.
	ProviderID() string
	// CurrentKID returns the kid of the newest key version.
	CurrentKID(ctx context.Context) (string, error)
	// ListKIDs returns the kids of all key versions, oldest first.
	ListKIDs(ctx context.Context) ([]string, error)
	// PublicKey returns a key version, its SubjectPublicKeyInfo and algorithm
	// included, from memory. Class, Backend and Version say where it is; Pool
	// and State are left empty. A kid that the
	// provider does not hold gives capsign.KIDUnknown.
	PublicKey(ctx context.Context, kid string) (capsign.Key, error)
	// Sign signs msg, the message itself and not its digest, with the key
	// version kid names; an empty kid means the current one. The signature has
	// its algorithm's canonical encoding. Sign does not retain msg.
	Sign(ctx context.Context, kid string, msg []byte) (capsign.Signature, error)
	// Close wipes or releases what the provider holds. Sign must not be called
	// after it.
	Close() error
}

// Generator is implemented by providers whose backend can make key versions.
type Generator interface {
	// Generate makes a further version of the key in the backend, not
	// exportable where the backend can promise that, and returns its kid. The
	// version is listed and signs at once; the current one stays current until
	// the provider is opened again.
	Generate(ctx context.Context) (kid string, err error)
	// Reload looks for versions that others made since the provider was opened
	// and lists them too. The current version stays.
	Reload(ctx context.Context) error
}

// Throttled is capsign.Throttled with the vendor's word on when to come back.
type Throttled struct {
	// RetryAfter is how long to wait; zero means that the vendor did not say.
	RetryAfter time.Duration
}

// After returns RetryAfter.
func (t Throttled) After() time.Duration { return t.RetryAfter }

// Error returns the code.
func (Throttled) Error() string { return string(capsign.Throttled) }

// Unwrap returns capsign.Throttled.
func (Throttled) Unwrap() error { return capsign.Throttled }
