//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"slices"
	"sync"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/pkcs11/p11test"
)

func TestGeneratedKeysStayOnTheToken(t *testing.T) {
	cfg := generated(t)
	p := opened(t, cfg)
	k := p.held.Load().byKID[p.held.Load().current]
	if len(k.id) != 16 {
		t.Errorf("CKA_ID of %d bytes, want 16", len(k.id))
	}
	if alone, err := keepsItsKey(t, p, k.label); !alone || err != nil {
		t.Errorf("alone %t, %v", alone, err)
	}
}

func TestKeysThatATokenGivesAwayAreNotKept(t *testing.T) {
	tok := p11test.SoftHSM(t)
	tok.Generate(t, capsign.ES256, keyName, "01")
	tok.Generate(t, capsign.ES256, "extractable", "02", p11test.Extractable)
	p := opened(t, configFor(tok))
	if _, err := keepsItsKey(t, p, "extractable"); codeOf(err) != capsign.Integrity {
		t.Errorf("an extractable key: %v, want %s", err, capsign.Integrity)
	}
}

func keepsItsKey(t *testing.T, p *Provider, label string) (alone bool, err error) {
	t.Helper()
	err = p.token.look(t.Context(), func(ctx context.Context, v view) error {
		found, err := v.find(ctx, p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PRIVATE_KEY), p11.NewAttribute(p11.CKA_LABEL, label))
		if err != nil || len(found) == 0 {
			return errGone
		}
		alone, err = v.keepsItsKey(ctx, found[0], label)
		return err
	})
	return alone, err
}

func TestALabelOfTwoKeysIsNotAlone(t *testing.T) {
	tok := p11test.SoftHSM(t)
	tok.Generate(t, capsign.ES256, keyName, "01")
	tok.Generate(t, capsign.ES256, "twice", "02")
	tok.Generate(t, capsign.ES256, "twice", "03")
	p := opened(t, configFor(tok))
	for label, want := range map[string]bool{keyName: true, "twice": false} {
		if alone, err := keepsItsKey(t, p, label); alone != want || err != nil {
			t.Errorf("%s: alone %t, %v, want %t", label, alone, err, want)
		}
	}
}

func TestGenerateListsAVersionThatIsNotCurrentYet(t *testing.T) {
	cfg := generated(t)
	p, other := opened(t, cfg), opened(t, cfg)
	first, _ := p.CurrentKID(t.Context())
	second, err := p.Generate(t.Context())
	if err != nil {
		t.Fatalf("Generate: %v", err)
	}
	if current, _ := p.CurrentKID(t.Context()); current != first {
		t.Errorf("current kid became %s", current)
	}
	mustSign(t, p, second)
	if err := other.Reload(t.Context()); err != nil {
		t.Fatalf("Reload: %v", err)
	}
	mustSign(t, other, second)
	if kids, _ := other.ListKIDs(t.Context()); !slices.Equal(kids, []string{first, second}) {
		t.Errorf("kids = %v, want %v", kids, []string{first, second})
	}
	again := opened(t, cfg)
	if current, _ := again.CurrentKID(t.Context()); current != second {
		t.Errorf("current kid after opening again = %s, want %s", current, second)
	}
	if key, _ := again.PublicKey(t.Context(), second); key.Version != keyName+".2" || key.Backend != cfg.TokenLabel {
		t.Errorf("version %q of %q", key.Version, key.Backend)
	}
}

func TestManyGenerateAtOnce(t *testing.T) {
	cfg := generated(t)
	p := opened(t, cfg)
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			if _, err := p.Generate(t.Context()); err != nil {
				t.Errorf("Generate: %v", err)
			}
		})
	}
	callers.Wait()
	if kids, _ := opened(t, cfg).ListKIDs(t.Context()); len(kids) != 5 {
		t.Errorf("%d versions, want 5", len(kids))
	}
}
