package pkcs11

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

func TestSessionsStayBelowTheTokensLimit(t *testing.T) {
	for _, tt := range []struct {
		wanted int
		class  capsign.Class
		most   uint
		want   int
	}{
		{8, capsign.ClassToken, 0, 8}, {8, capsign.ClassToken, ^uint(0), 8}, {8, capsign.ClassToken, ^uint(0) - 1, 8},
		{8, capsign.ClassToken, 4, 3}, {8, capsign.ClassToken, 1, 1}, {8, capsign.ClassToken, 100, 8},
		{0, capsign.ClassChip, 0, 1}, {3, capsign.ClassChip, 0, 3},
	} {
		if got := (Config{Sessions: tt.wanted}).sessions(tt.class, tt.most); got != tt.want {
			t.Errorf("%+v: %d sessions", tt, got)
		}
	}
	if (Config{}).sessions(capsign.ClassToken, 0) < 1 {
		t.Error("no session by default")
	}
}

func TestConfigurationFaults(t *testing.T) {
	good := Config{KeyLabel: "k", KeyName: "k", PIN: []byte("1234"), Guard: newOneLogin()}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no guard":          func(c *Config) { c.Guard = nil },
		"no key":            func(c *Config) { c.KeyLabel = "" },
		"no key name":       func(c *Config) { c.KeyName = "" },
		"no pin":            func(c *Config) { c.PIN = nil },
		"negative sessions": func(c *Config) { c.Sessions = -1 },
		"negative timeout":  func(c *Config) { c.CallTimeout = -1 },
		"class of software": func(c *Config) { c.Class = capsign.ClassSoftware },
		"unknown algorithm": func(c *Config) { c.Alg = "none" },
	} {
		cfg := good
		spoil(&cfg)
		if err := cfg.check(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestCheckedConfigurationSharesNothing(t *testing.T) {
	pin := []byte("1234")
	cfg, err := Config{KeyLabel: "k", KeyName: "k", PIN: pin, Guard: newOneLogin()}.checked()
	if err != nil {
		t.Fatal(err)
	}
	clear(pin)
	clear(cfg.PIN)
	if string(cfg.KeyPIN) != "1234" || cfg.CallTimeout != defaultCallTimeout {
		t.Error("the key's PIN went with the user's")
	}
}

func TestNothingPrintsThePIN(t *testing.T) {
	cfg := Config{PIN: []byte("90817"), KeyPIN: []byte("90817"), KeyLabel: "label-of-key"}
	for _, text := range []string{
		fmt.Sprint(cfg), fmt.Sprintf("%v %+v %#v %s %d %x", cfg, cfg, cfg, cfg, cfg, cfg), fmt.Sprint(new(Provider)),
		cfg.String(), cfg.GoString(), new(Provider).String(), new(Provider).GoString(),
	} {
		if !strings.Contains(text, redacted) || strings.Contains(text, "90817") || strings.Contains(text, "label-of-key") {
			t.Errorf("printed %q", text)
		}
	}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).InfoContext(t.Context(), "it", "cfg", cfg, "provider", new(Provider))
	encoded, err := json.Marshal(cfg)
	if err != nil || strings.Contains(string(encoded)+out.String(), "9081") || strings.Contains(string(encoded), "OTA4MTc") {
		t.Errorf("encoded %s, logged %s, %v", encoded, &out, err)
	}
}

func TestOneLoginLetsOneFailureHappen(t *testing.T) {
	guard := newOneLogin()
	tries := 0
	attempt := func(token string, result error) error {
		return guard.Login(t.Context(), token, func(context.Context) error { tries++; return result })
	}
	wrong := fmt.Errorf("pkcs11: login: %w", capsign.PINIncorrect)
	steps := []struct {
		token  string
		result error
		want   capsign.Code
		tries  int
	}{
		{"a", nil, "", 1}, {"a", fmt.Errorf("x: %w", capsign.ProviderTimeout), capsign.ProviderTimeout, 2},
		{"a", wrong, capsign.PINIncorrect, 3}, {"a", nil, capsign.PINIncorrect, 3}, {"b", nil, "", 4},
	}
	for i, step := range steps {
		err := attempt(step.token, step.result)
		if step.want == "" && err != nil || step.want != "" && !errors.Is(err, step.want) || tries != step.tries {
			t.Errorf("step %d: %v after %d tries, want %q after %d", i, err, tries, step.want, step.tries)
		}
	}
	if err := guard.Block(t.Context(), "b", capsign.TokenLocked); err != nil {
		t.Fatal(err)
	}
	if err := attempt("b", nil); !errors.Is(err, capsign.TokenLocked) || tries != 4 {
		t.Errorf("after Block: %v after %d tries", err, tries)
	}
	if OneLogin() != OneLogin() {
		t.Error("two guards in one process")
	}
}

func TestFlagsBeforeALogin(t *testing.T) {
	const ready = 0x40d
	for flags, want := range map[uint]error{
		ready: nil, ready | 0x10000: nil, ready | ckfUserPINFinalTry: errFinalTry,
		ready | ckfUserPINLocked: errLocked, ready | ckfUserPINToBeChanged: errLocked,
		ready | ckfUserPINFinalTry | ckfUserPINLocked: errLocked,
	} {
		if err := mayLogin(flags); !errors.Is(err, want) {
			t.Errorf("flags 0x%x: %v, want %v", flags, err, want)
		}
	}
}

func TestBackoffGrowsAndCalmsDown(t *testing.T) {
	var b backoff
	now := time.Now()
	if !b.ready(now) {
		t.Error("nothing was done yet")
	}
	for _, ms := range []int64{200, 400, 800, 1600, 2000, 2000} {
		b.done(now)
		if got := b.due().Sub(now); got.Milliseconds() != ms || b.ready(now) {
			t.Errorf("wait %v, want %d ms", got, ms)
		}
		now = b.due()
	}
	now = now.Add(calm + time.Second)
	b.done(now)
	if got := b.due().Sub(now); got != minBackoff {
		t.Errorf("wait %v after a calm time, want %v", got, minBackoff)
	}
}
