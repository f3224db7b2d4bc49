// Package providertest is the contract suite that every provider passes with
// real parts underneath: a key file, a PKCS#11 module, the real client of a
// cloud.
//
// A provider's own tests call [Run] once per algorithm and say how to open a
// provider, what is special about the backend, and which faults it can have.
package providertest

import (
	"cmp"
	"context"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
)

// Config describes the provider under test and its backend.
type Config struct {
	// Open opens a provider of the key under test. Each call gives a provider
	// of its own, over the same key versions. The suite closes it.
	Open func(ctx context.Context) (providers.Provider, error)
	// ProviderID is the class name the provider must give.
	ProviderID string
	// KeyName is the name of the key under test.
	KeyName string
	// Alg is the algorithm of all its versions.
	Alg capsign.Alg
	// Class is the class that all its versions must have.
	Class capsign.Class
	// Backend is the name of the backend in the matrix of what was tested, such
	// as SoftHSM2.
	Backend string
	// MaxMessage is the longest message that the backend signs, in bytes; a
	// longer one must be refused with capsign.TooLarge. Zero means that it signs
	// whatever a request can hold.
	MaxMessage int
	// MinMessage is the shortest message that the backend signs; a shorter one
	// must be refused with capsign.BadRequest.
	MinMessage int
	// Signatures is how many signatures the encoding is checked on; zero is
	// 1000. Lower it where a signature costs money or time.
	Signatures int
	// NoGenerate says that the key under test is pinned to one version, or that
	// nobody may make another, as on a real cloud's account.
	NoGenerate bool
	// Callers is how many goroutines sign at once; zero is 64.
	Callers int
	// Faults are the ways in which the backend can break.
	Faults []Fault
	// Secrets are texts that no error may contain: the PIN, the passphrase, the
	// path, the address, words of the vendor's.
	Secrets []string
}

// Fault is one way in which a backend breaks while a provider is open on it.
type Fault struct {
	// Name names the fault in the test's output.
	Name string
	// Inject breaks the backend.
	Inject func(t *testing.T)
	// Repair mends it.
	Repair func(t *testing.T)
	// Sign is what a signature that is asked of the open provider then fails
	// with. Empty means that signing does not notice.
	Sign capsign.Code
	// Open is what opening another provider then fails with. Empty means that
	// it succeeds.
	Open capsign.Code
	// Recovery is how soon after Repair the open provider must sign again; zero
	// is at once, negative never.
	Recovery time.Duration
}

// maxMessage returns the length of the longest message to be signed.
func (cfg Config) maxMessage() int { return cmp.Or(cfg.MaxMessage, capsign.MaxMessageSize) }

// signatures returns how many signatures to check the encoding of.
func (cfg Config) signatures() int { return cmp.Or(cfg.Signatures, 1000) }

// callers returns how many goroutines sign at once.
func (cfg Config) callers() int { return cmp.Or(cfg.Callers, 64) }

// Run holds a provider to the contract of [providers.Provider].
func Run(t *testing.T, cfg Config) {
	cfg.recordAtEnd(t)
	for _, clause := range []struct {
		name string
		hold func(*testing.T, Config)
	}{
		{"KIDsAreRecomputedFromTheKeys", kidsAreRecomputedFromTheKeys},
		{"KIDsSurviveReopening", kidsSurviveReopening},
		{"EmptyKIDMeansCurrent", emptyKIDMeansCurrent},
		{"EveryVersionSigns", everyVersionSigns},
		{"SignaturesVerify", signaturesVerify},
		{"MessagesOverTheLimitAreRefused", messagesOverTheLimitAreRefused},
		{"FlippedBitsAreRefused", flippedBitsAreRefused},
		{"OpenSSLAgrees", openSSLAgrees},
		{"SignaturesAreCanonical", signaturesAreCanonical},
		{"UnknownKIDsAreRefused", unknownKIDsAreRefused},
		{"DoneContextSignsNothing", doneContextSignsNothing},
		{"BatchesAreWhatSignMakes", batchesAreWhatSignMakes},
		{"RefusedBatchesSignNothing", refusedBatchesSignNothing},
		{"ManySignAtOnce", manySignAtOnce},
		{"NothingIsShared", nothingIsShared},
		{"ClosingOneLeavesTheOthers", closingOneLeavesTheOthers},
		{"FaultsFailClosed", faultsFailClosed},
		{"GeneratedVersionsAreHeld", generatedVersionsAreHeld},
	} {
		t.Run(clause.name, func(t *testing.T) { clause.hold(t, cfg) })
	}
}

// open opens a provider that lives as long as the test.
func (cfg Config) open(t *testing.T) providers.Provider {
	t.Helper()
	provider, err := cfg.Open(t.Context())
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := provider.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return provider
}
