package providertest

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
)

func doneContextSignsNothing(t *testing.T, cfg Config) {
	provider := cfg.open(t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, stop := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer stop()
	for name, ctx := range map[string]context.Context{"cancelled": cancelled, "expired": expired} {
		sig, err := provider.Sign(ctx, "", []byte("too late"))
		cfg.mustRefuse(t, "Sign when "+name, sig, err, capsign.ProviderTimeout)
	}
	sign(t, provider, "", []byte("in time"))
}

func faultsFailClosed(t *testing.T, cfg Config) {
	for _, fault := range cfg.Faults {
		t.Run(fault.Name, func(t *testing.T) {
			provider := cfg.open(t)
			key := publicKey(t, provider, currentKID(t, provider))
			repaired := false
			t.Cleanup(func() {
				if !repaired {
					fault.Repair(t)
				}
			})
			fault.Inject(t)
			cfg.mustSignUnless(t, provider, key, fault.Sign)
			cfg.mustOpenUnless(t, fault.Open)
			fault.Repair(t)
			repaired = true
			if fault.Recovery >= 0 {
				cfg.mustRecover(t, provider, key, fault.Recovery)
			}
			mustVerify(t, key, message(32), sign(t, cfg.open(t), key.KID, message(32)))
		})
	}
}

// mustSignUnless says that signing fails with the code, or, where that is
// empty, that a fault goes unnoticed.
func (cfg Config) mustSignUnless(t *testing.T, provider providers.Provider, key capsign.Key, code capsign.Code) {
	t.Helper()
	sig, err := provider.Sign(t.Context(), key.KID, message(32))
	if code != "" {
		cfg.mustRefuse(t, "Sign", sig, err, code)
		return
	}
	if err != nil {
		t.Fatalf("Sign: %v", err)
	}
	mustVerify(t, key, message(32), sig)
}

// mustOpenUnless says that opening fails with the code, or, where that is
// empty, that a fault goes unnoticed.
func (cfg Config) mustOpenUnless(t *testing.T, code capsign.Code) {
	t.Helper()
	provider, err := cfg.Open(t.Context())
	if err == nil {
		err = provider.Close()
	}
	if code != "" {
		cfg.mustFail(t, "Open", err, code)
	} else if err != nil {
		t.Errorf("Open and Close: %v", err)
	}
}

// mustRecover says that the provider signs again in time. Until then every
// refusal must still be one.
func (cfg Config) mustRecover(t *testing.T, provider providers.Provider, key capsign.Key, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for {
		sig, err := provider.Sign(t.Context(), key.KID, message(32))
		if err == nil {
			mustVerify(t, key, message(32), sig)
			return
		}
		cfg.mustRefuse(t, "Sign after repair", sig, err, codeOf(err))
		select {
		case <-ctx.Done():
			t.Fatalf("Sign still fails %v after repair: %v", within, err)
		case <-retry.C:
		}
	}
}

// mustRefuse says that Sign failed with the code and gave no signature.
func (cfg Config) mustRefuse(t *testing.T, what string, sig capsign.Signature, err error, want capsign.Code) {
	t.Helper()
	if sig.KID != "" || sig.Alg != "" || sig.Bytes != nil {
		t.Errorf("%s gave the signature %+v beside its error", what, sig)
	}
	cfg.mustFail(t, what, err, want)
}

// errorText is the form of an error: what failed, in the project's words, down
// to the code, with no path, address or number of the vendor's.
var errorText = regexp.MustCompile(`^[a-z0-9]+(: [a-z0-9 ,'-]+)*: [a-z_]+$`)

// mustFail says that err wraps the code and no other, and says nothing more.
func (cfg Config) mustFail(t *testing.T, what string, err error, want capsign.Code) {
	t.Helper()
	if err == nil {
		t.Errorf("%s succeeded, want %s", what, want)
		return
	}
	codes := codesIn(err)
	if len(codes) != 1 || codes[0] != want || !want.Known() {
		t.Errorf("%s wraps the codes %v, want %s alone: %v", what, codes, want, err)
	}
	if text := err.Error(); !errorText.MatchString(text) || !strings.HasSuffix(text, string(want)) {
		t.Errorf("%s: error %q is not of the form %v", what, text, errorText)
	}
	for _, secret := range cfg.Secrets {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error contains one of the texts it must not", what)
		}
	}
}

// codesIn returns every code that err wraps, however deep.
func codesIn(err error) []capsign.Code {
	if code, ok := err.(capsign.Code); ok { //nolint:errorlint // counts the codes, layer by layer
		return []capsign.Code{code}
	}
	switch wrapping := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() error }:
		return codesIn(wrapping.Unwrap())
	case interface{ Unwrap() []error }:
		var codes []capsign.Code
		for _, inner := range wrapping.Unwrap() {
			codes = append(codes, codesIn(inner)...)
		}
		return codes
	}
	return nil
}

// codeOf returns the code that err wraps.
func codeOf(err error) capsign.Code {
	code, _ := errors.AsType[capsign.Code](err)
	return code
}
