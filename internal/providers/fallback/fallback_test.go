package fallback_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
	"github.com/capsign/cap/internal/providers/fallback"
	"github.com/capsign/cap/internal/providers/software"
)

// breakable is a provider whose signing fails with a code while there is one.
type breakable struct {
	*software.Provider
	code *atomic.Value
}

func (b breakable) Sign(ctx context.Context, kid string, msg []byte) (capsign.Signature, error) {
	if code := b.code.Load().(capsign.Code); code != "" {
		return capsign.Signature{}, code
	}
	return b.Provider.Sign(ctx, kid, msg)
}

// openKey makes and opens a software key of this name.
func openKey(t *testing.T, name string) *software.Provider {
	t.Helper()
	cfg := software.Config{Dir: t.TempDir(), KeyName: name}
	if _, err := software.Generate(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	provider, err := software.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return provider
}

// newPair returns a provider with a spare, what breaks its main one, and the
// kids of both.
func newPair(t *testing.T, code capsign.Code, log *slog.Logger) (p *fallback.Provider, fault *atomic.Value, own, spare string) {
	t.Helper()
	main, behind := openKey(t, "main"), openKey(t, "spare")
	fault = new(atomic.Value)
	fault.Store(code)
	open := func(context.Context) (providers.Provider, error) {
		if code := fault.Load().(capsign.Code); code != "" {
			return nil, code
		}
		return breakable{main, fault}, nil
	}
	p, err := fallback.New(t.Context(), capsign.ProviderPKCS11, open, behind, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	own, _ = main.CurrentKID(t.Context())
	spare, _ = behind.CurrentKID(t.Context())
	return p, fault, own, spare
}

// mustSign has the current key sign and says which must have.
func mustSign(t *testing.T, p *fallback.Provider, kid string) {
	t.Helper()
	current, err := p.CurrentKID(t.Context())
	if err != nil || current != kid {
		t.Fatalf("current kid %s, %v; want %s", current, err, kid)
	}
	for _, asked := range []string{"", kid} {
		sig, err := p.Sign(t.Context(), asked, []byte("m"))
		if err != nil || sig.KID != kid {
			t.Fatalf("signed by %s, %v; want %s", sig.KID, err, kid)
		}
		key, err := p.PublicKey(t.Context(), kid)
		if err != nil || key.Verify([]byte("m"), sig.Bytes) != nil {
			t.Fatalf("the signature does not verify: %v", err)
		}
	}
}

// mustChange waits for a change.
func mustChange(t *testing.T, p *fallback.Provider) {
	t.Helper()
	select {
	case <-p.Changed():
	case <-time.After(10 * time.Second):
		t.Fatal("nothing has changed")
	}
}

func TestSpareSignsWhileTheProviderIsAway(t *testing.T) {
	var logged strings.Builder
	p, fault, own, spare := newPair(t, "", slog.New(slog.NewTextHandler(&logged, nil)))
	mustSign(t, p, own)
	fault.Store(capsign.TokenAbsent)
	if sig, err := p.Sign(t.Context(), own, []byte("m")); !errors.Is(err, capsign.TokenAbsent) || sig.Bytes != nil {
		t.Errorf("the first to notice got %v, %v", sig, err)
	}
	mustChange(t, p)
	mustSign(t, p, spare)
	if _, err := p.Sign(t.Context(), own, []byte("m")); !errors.Is(err, capsign.TokenAbsent) {
		t.Errorf("the provider's own kid gives %v", err)
	}
	fault.Store(capsign.Code(""))
	mustChange(t, p)
	mustSign(t, p, own)
	if text := logged.String(); !strings.Contains(text, "SOFTWARE KEY") || !strings.Contains(text, "is back") {
		t.Errorf("logged:\n%s", text)
	}
}

func TestProviderThatIsAwayAtTheStartIsOpenedLater(t *testing.T) {
	p, fault, own, spare := newPair(t, capsign.ProviderUnavailable, slog.New(slog.DiscardHandler))
	mustChange(t, p)
	mustSign(t, p, spare)
	if kids, err := p.ListKIDs(t.Context()); err != nil || len(kids) != 1 {
		t.Errorf("kids %v, %v", kids, err)
	}
	fault.Store(capsign.Code(""))
	mustChange(t, p)
	mustSign(t, p, own)
	if kids, err := p.ListKIDs(t.Context()); err != nil || len(kids) != 2 || kids[1] != own {
		t.Errorf("kids %v, %v", kids, err)
	}
}

// What needs an operator must not be covered up.
func TestNothingStandsInForAnOperator(t *testing.T) {
	for _, code := range []capsign.Code{capsign.PINIncorrect, capsign.TokenLocked, capsign.Integrity, capsign.TooLarge, capsign.KIDUnknown} {
		p, fault, own, _ := newPair(t, "", slog.New(slog.DiscardHandler))
		fault.Store(code)
		if _, err := p.Sign(t.Context(), own, []byte("m")); !errors.Is(err, code) {
			t.Errorf("%s became %v", code, err)
		}
		if current, _ := p.CurrentKID(t.Context()); current != own {
			t.Errorf("%s made the spare sign", code)
		}
		open := func(context.Context) (providers.Provider, error) { return nil, code }
		if _, err := fallback.New(t.Context(), capsign.ProviderPKCS11, open, openKey(t, "spare"), slog.New(slog.DiscardHandler)); !errors.Is(err, code) {
			t.Errorf("a start with %s gave %v", code, err)
		}
	}
}

func TestCallerOutOfTimeIsOnlyADoubt(t *testing.T) {
	p, fault, own, spare := newPair(t, "", slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = p.Sign(ctx, own, []byte("m")) // the software key says provider_timeout
	select {
	case <-p.Changed():
		t.Error("a caller without time made the spare sign")
	case <-time.After(500 * time.Millisecond):
	}
	mustSign(t, p, own)
	fault.Store(capsign.ProviderTimeout) // as a provider that hangs says for every caller
	_, _ = p.Sign(ctx, own, []byte("m"))
	mustChange(t, p)
	mustSign(t, p, spare)
}
