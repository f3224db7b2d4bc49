package config

import (
	"strings"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

// tokenKey returns a configuration that uses a token's key.
func tokenKey(change func(*PKCS11)) Config {
	cfg := Default()
	cfg.Key.Provider = capsign.ProviderPKCS11
	cfg.Key.PKCS11 = PKCS11{Module: "/a.so", PINEnv: "PIN", KeyLabel: "cap-signing"}
	change(&cfg.Key.PKCS11)
	return cfg
}

func TestFormsOfATokensKey(t *testing.T) {
	const id = "key.pkcs11.key_id: must be 1 to 64 bytes in hexadecimal, two digits each, in quotes"
	for name, test := range map[string]struct {
		change func(*PKCS11)
		want   string
	}{
		"as it is":           {func(*PKCS11) {}, ""},
		"id":                 {func(p *PKCS11) { p.KeyID = "01fF" }, ""},
		"id alone":           {func(p *PKCS11) { p.KeyID, p.KeyLabel = "01", "" }, ""},
		"id of 64 bytes":     {func(p *PKCS11) { p.KeyID = strings.Repeat("01", 64) }, ""},
		"id of 65 bytes":     {func(p *PKCS11) { p.KeyID = strings.Repeat("01", 65) }, id},
		"odd id":             {func(p *PKCS11) { p.KeyID = "123" }, id},
		"id in letters":      {func(p *PKCS11) { p.KeyID = "0x01" }, id},
		"label and serial":   {func(p *PKCS11) { p.TokenLabel, p.TokenSerial = "cap", "0123456789abcdef" }, ""},
		"long label":         {func(p *PKCS11) { p.TokenLabel = strings.Repeat("a", 33) }, "key.pkcs11.token_label: must be at most 32 bytes of printable text"},
		"long serial":        {func(p *PKCS11) { p.TokenSerial = strings.Repeat("a", 17) }, "key.pkcs11.token_serial: must be at most 16 bytes of printable text"},
		"slot":               {func(p *PKCS11) { p.Slot = new(uint(7)) }, ""},
		"slot and label":     {func(p *PKCS11) { p.Slot, p.TokenLabel = new(uint(0)), "cap" }, "key.pkcs11.token_label: excludes slot; keep one"},
		"slot and serial":    {func(p *PKCS11) { p.Slot, p.TokenSerial = new(uint(0)), "1" }, "key.pkcs11.token_serial: excludes slot; keep one"},
		"key PIN":            {func(p *PKCS11) { p.KeyPINFile = "/a" }, ""},
		"key PIN twice":      {func(p *PKCS11) { p.KeyPINEnv, p.KeyPINFile = "A", "/a" }, "key.pkcs11.key_pin_file: excludes key_pin_env; keep one"},
		"key PIN as it is":   {func(p *PKCS11) { p.KeyPINEnv = "1234" }, "key.pkcs11.key_pin_env: must be the name of an environment variable, not the secret itself"},
		"RSA":                {func(p *PKCS11) { p.Alg = capsign.RS256 }, ""},
		"another algorithm":  {func(p *PKCS11) { p.Alg = "ES512" }, "key.pkcs11.alg: must be one of Ed25519, ES256, ES384, PS256, RS256"},
		"most sessions":      {func(p *PKCS11) { p.Sessions = 1024 }, ""},
		"too many sessions":  {func(p *PKCS11) { p.Sessions = 1025 }, "key.pkcs11.sessions: must be from 0 to 1024"},
		"negative sessions":  {func(p *PKCS11) { p.Sessions = -1 }, "key.pkcs11.sessions: must be from 0 to 1024"},
		"chip":               {func(p *PKCS11) { p.Class = capsign.ClassChip }, ""},
		"another class":      {func(p *PKCS11) { p.Class = capsign.ClassCloud }, "key.pkcs11.class: must be one of token, chip"},
		"what NSS wants":     {func(p *PKCS11) { p.InitArgs = "configdir='sql:/a' flags=" }, ""},
		"NUL":                {func(p *PKCS11) { p.InitArgs = "a\x00b" }, "key.pkcs11.init_args: must not hold a NUL character"},
		"URI for a name":     {func(p *PKCS11) { p.KeyLabel, p.URI = "", "pkcs11:object=a" }, ""},
		"URI, bad in itself": {func(p *PKCS11) { p.KeyLabel, p.URI = "", "pkcs11:object" }, "key.pkcs11.uri: " + malformed},
		"URI, bad value":     {func(p *PKCS11) { p.URI = "pkcs11:token=" + strings.Repeat("a", 33) }, "key.pkcs11.uri: token must be at most 32 bytes of printable text"},
		"URI and slot":       {func(p *PKCS11) { p.Slot, p.URI = new(uint(0)), "pkcs11:token=a" }, "key.pkcs11.uri: token excludes slot; keep one"},
		"URI and PIN":        {func(p *PKCS11) { p.URI = "pkcs11:?pin-source=file:/a" }, "key.pkcs11.uri: pin-source excludes pin_env; keep one"},
		"URI, control byte":  {func(p *PKCS11) { p.URI = "pkcs11:token=a%00" }, "key.pkcs11.uri: token must be at most 32 bytes of printable text"},
		"URI, no UTF-8":      {func(p *PKCS11) { p.URI = "pkcs11:serial=%FF" }, "key.pkcs11.uri: serial must be at most 16 bytes of printable text"},
		"URI, module":        {func(p *PKCS11) { p.Module, p.URI = "", "pkcs11:?module-path=a.so" }, "key.pkcs11.uri: module-path must be an absolute path"},
		"URI, long id":       {func(p *PKCS11) { p.URI = "pkcs11:id=" + strings.Repeat("%01", 65) }, "key.pkcs11.uri: id" + strings.TrimPrefix(id, "key.pkcs11.key_id:")},
	} {
		t.Run(name, func(t *testing.T) {
			if test.want == "" {
				checkFaults(t, tokenKey(test.change))
			} else {
				checkFaults(t, tokenKey(test.change), test.want)
			}
		})
	}
}

func TestSignTimeout(t *testing.T) {
	for timeout, ok := range map[time.Duration]bool{
		99 * time.Millisecond: false, 100 * time.Millisecond: true, time.Minute: true, time.Minute + 1: false, 0: false,
	} {
		cfg := Default()
		cfg.Key.SignTimeout = timeout
		if got := len(cfg.faults()) == 0; got != ok {
			t.Errorf("%v accepted: %t", timeout, got)
		}
	}
}

func TestFallback(t *testing.T) {
	cfg := tokenKey(func(*PKCS11) {})
	cfg.Key.Fallback = "software"
	checkFaults(t, cfg)
	cfg.Key.Fallback = "pkcs11"
	checkFaults(t, cfg, "key.fallback: must be software, or left out")
	cfg = Default()
	cfg.Key.Fallback = "software"
	checkFaults(t, cfg, "key.fallback: goes with providers pkcs11 and cloudkms only")
}

// Nobody said is neither yes nor no.
func TestAllowGenerate(t *testing.T) {
	for text, want := range map[string]*bool{
		"": nil, ", allow_generate: true": new(true), ", allow_generate: false": new(false),
	} {
		got := mustParse(t, "key: {provider: software"+text+"}\n").Key.AllowGenerate
		if (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%q: %v", text, got)
		}
	}
	if got := lines(t, "key: {provider: software, allow_generate: yes}\n"); got[0] != "1:27 key.allow_generate: must be true or false" {
		t.Error(got)
	}
}
