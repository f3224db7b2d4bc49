package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// What most broken URIs are told.
const (
	malformed = `must be made of attributes such as token=cap, with ";" between them and "?" before module-path and pin-source`
	unknown   = "has an attribute that is not known in its place; vendors' own are not supported"
	notAType  = "type must be private, or left out: the key that signs is a private one"
)

// resolved returns what a URI says, and its problems.
func resolved(uri string) (PKCS11, []string) {
	p, _, problems := PKCS11{URI: uri}.merged()
	return p, problems
}

func TestURIsThatSayWhereAKeyIs(t *testing.T) {
	for uri, want := range map[string]PKCS11{
		// RFC 7512, section 3.
		"pkcs11:": {},
		"pkcs11:object=my-key;type=private?pin-source=file:/etc/token":     {KeyLabel: "my-key", PINFile: "/etc/token"},
		"pkcs11:object=my-sign-key;type=private?module-path=/mnt/lib.so.1": {KeyLabel: "my-sign-key", Module: "/mnt/lib.so.1"},

		"pkcs11:token=My%20token%25%20created%20by%20Joe;id=%01%02%03%Ba%dd%Ca%fe%04%05%06": {TokenLabel: "My token% created by Joe", KeyID: "010203baddcafe040506"},
		"pkcs11:token=A%20name%20with%20a%20substring%20%25%3B;object=a":                    {TokenLabel: "A name with a substring %;", KeyLabel: "a"},
		"pkcs11:token=Name%20with%20a%20small%20A%20with%20acute:%20%C3%A1;object=a":        {TokenLabel: "Name with a small A with acute: á", KeyLabel: "a"},
		"pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;id=%69%95%3E%5C%F4%BD%EC%91":   {TokenLabel: "The Software PKCS#11 Softtoken", KeyID: "69953e5cf4bdec91"},

		"PKCS11:serial=9f2c;slot-id=0":                         {TokenSerial: "9f2c", Slot: new(uint(0))},
		"pkcs11:slot-id=490337301":                             {Slot: new(uint(490337301))},
		"pkcs11:token=a=b&c":                                   {TokenLabel: "a=b&c"},
		"pkcs11:?pin-source=file:///run/credentials/pin":       {PINFile: "/run/credentials/pin"},
		"pkcs11:?module-path=/a%20b.so&pin-source=file:/a?b|c": {Module: "/a b.so", PINFile: "/a?b|c"},
		"pkcs11:id=A": {KeyID: "41"},
		"pkcs11:object=%61?pin-source=%66ile:%2Fetc%2Fpin&module-path=%2Fa.so": {KeyLabel: "a", Module: "/a.so", PINFile: "/etc/pin"},
	} {
		got, problems := resolved(uri)
		if len(problems) > 0 {
			t.Errorf("%s: %q", uri, problems)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", uri, diff)
		}
	}
}

func TestURIsThatAreRefused(t *testing.T) {
	const (
		scheme = "must be a PKCS#11 URI such as pkcs11:token=cap;object=cap-signing"
		escape = " holds a character that must be percent-encoded, such as %20 for a space"
		source = "pin-source must be file: and an absolute path"
	)
	for uri, want := range map[string][]string{
		// RFC 7512, section 3.
		"pkcs11:object=my-pubkey;type=public": {notAType},
		"pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;object=my-certificate;type=cert;id=%69%95%3E%5C%F4%BD%EC%91;serial=?pin-source=file:/etc/token_pin": {
			"manufacturer" + notChosenBy, "model" + notChosenBy, "serial has no value; give it one or remove it", notAType,
		},
		"pkcs11:object=my-sign-key;type=private?module-name=mypkcs11": {"module-name depends on where libraries are looked for; give the whole path in module-path"},
		"pkcs11:token=Software?pin-value=the-pin":                     {"pin-value: a PIN does not belong in the file; name a file in pin-source, or a variable in pin_env"},
		"pkcs11:slot-description=Sun%20Metaslot":                      {"slot-description" + notChosenBy},
		"pkcs11:library-manufacturer=Snake;library-description=Soft;library-version=1.23": {
			"library-manufacturer" + notChosenBy, "library-description" + notChosenBy, "library-version" + notChosenBy,
		},
		"pkcs11:token=a;vendor-aaa=value-a?pin-source=file:/a&vendor-bbb=value-b": {unknown, unknown},

		"pkcs11":                                    {scheme},
		"https://a":                                 {scheme},
		"pkcs11:;token=a":                           {malformed},
		"pkcs11:token=a;":                           {malformed},
		"pkcs11:token":                              {malformed},
		"pkcs11:=a":                                 {unknown},
		"pkcs11:Token=a":                            {unknown},
		"pkcs11:%74oken=a":                          {unknown},
		"pkcs11:module-path=/a":                     {unknown},
		"pkcs11:?token=a":                           {unknown},
		"pkcs11:token=":                             {"token has no value; give it one or remove it"},
		"pkcs11:token=a;token=a":                    {"token is given twice"},
		"pkcs11:token=a b;token=a":                  {"token" + escape, "token is given twice"},
		"pkcs11:token=%":                            {"token" + escape},
		"pkcs11:token=%2":                           {"token" + escape},
		"pkcs11:token=%zz":                          {"token" + escape},
		"pkcs11:token=á":                            {"token" + escape},
		"pkcs11:token=a/b":                          {"token" + escape},
		"pkcs11:token=a#b":                          {"token" + escape},
		"pkcs11:?module-path=/a&b":                  {malformed},
		"pkcs11:type=secret-key":                    {notAType},
		"pkcs11:type=Private":                       {notAType},
		"pkcs11:slot-id=a":                          {"slot-id must be a decimal number"},
		"pkcs11:slot-id=-1":                         {"slot-id must be a decimal number"},
		"pkcs11:slot-id=" + strings.Repeat("9", 30): {"slot-id must be a decimal number"},
		"pkcs11:?pin-source=/etc/pin":               {source},
		"pkcs11:?pin-source=file:pin":               {source},
		"pkcs11:?pin-source=file://host/pin":        {source},
		"pkcs11:?pin-source=|/bin/pinomatic":        {source},
		"pkcs11:?pin-source=https://host/pin":       {source},
	} {
		_, problems := resolved(uri)
		if diff := cmp.Diff(want, problems); diff != "" {
			t.Errorf("%s: %s", uri, diff)
		}
	}
}

// What a URI says must not be said again, not even in the same words.
func TestURIAndFieldsDoNotSayTheSame(t *testing.T) {
	p := PKCS11{
		URI:    "pkcs11:token=a;serial=b;slot-id=0;object=c;id=%01?module-path=/d&pin-source=file:/e",
		Module: "/d", TokenLabel: "a", TokenSerial: "b", Slot: new(uint(0)), KeyLabel: "c", KeyID: "01", PINFile: "/e",
	}
	_, _, problems := p.merged()
	want := []string{
		"token says what token_label says; keep one", "serial says what token_serial says; keep one",
		"slot-id says what slot says; keep one", "object says what key_label says; keep one",
		"id says what key_id says; keep one", "module-path says what module says; keep one",
		"pin-source says what pin_file says; keep one",
	}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Error(diff)
	}
	if got, err := p.Resolve(); err == nil || got != (PKCS11{}) {
		t.Errorf("resolved to %+v, %v", got, err)
	}
}

// The rest of the program sees one struct, whichever way it was said.
func TestParseResolvesTheURI(t *testing.T) {
	cfg := mustParse(t, `
key:
  provider: pkcs11
  pkcs11:
    uri: pkcs11:token=cap;object=cap-signing?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/cap/pin
    sessions: 4
`)
	want := PKCS11{
		Module: "/usr/lib/softhsm/libsofthsm2.so", TokenLabel: "cap", KeyLabel: "cap-signing", PINFile: "/etc/cap/pin", Sessions: 4,
	}
	if diff := cmp.Diff(want, cfg.Key.PKCS11); diff != "" {
		t.Error(diff)
	}
	if got := cfg.KeyName(); got != "cap-signing" {
		t.Errorf("key name %q", got)
	}
}

func TestFaultsOfAURIHaveItsPlace(t *testing.T) {
	got := lines(t, `key:
  provider: pkcs11
  pkcs11:
    module: /a.so
    slot: 0
    uri: pkcs11:token=a;object=b;hunter2=c?pin-value=hunter2
`)
	want := []string{
		"6:5 key.pkcs11.uri: " + unknown,
		"6:5 key.pkcs11.uri: pin-value: a PIN does not belong in the file; name a file in pin-source, or a variable in pin_env",
		"6:5 key.pkcs11.uri: token excludes slot; keep one",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// escaped percent-encodes every byte.
func escaped(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		fmt.Fprintf(&b, "%%%02x", c)
	}
	return b.String()
}

func TestURIValuesSurviveEncoding(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		token, object := rapid.StringN(1, 8, 32).Draw(r, "token"), rapid.StringN(1, 30, 128).Draw(r, "object")
		id := rapid.SliceOfN(rapid.Byte(), 1, 64).Draw(r, "id")
		got, problems := resolved("pkcs11:token=" + escaped(token) + ";object=" + escaped(object) + ";id=" + escaped(string(id)))
		want := PKCS11{TokenLabel: token, KeyLabel: object, KeyID: fmt.Sprintf("%x", id)}
		if len(problems) > 0 || got != want {
			r.Fatalf("%q %+v", problems, got)
		}
	})
}

func FuzzPKCS11URI(f *testing.F) {
	f.Add("pkcs11:token=My%20token%25;serial=1;slot-id=0;id=%01%Ba;object=a;type=private?module-path=/a.so&pin-source=file:/a")
	f.Add("pkcs11:;token=?&pin-value=1;%zz#")
	f.Fuzz(func(t *testing.T, uri string) {
		got, err := PKCS11{URI: uri}.Resolve()
		if err != nil {
			for _, fault := range faultsOf(t, err) {
				if fault.Key != "key.pkcs11.uri" || fault.Problem == "" {
					t.Errorf("fault %+v", fault)
				}
			}
			return
		}
		if again, err := got.Resolve(); err != nil || got.URI != "" || cmp.Diff(got, again) != "" {
			t.Errorf("resolved once %+v, twice %+v, %v", got, again, err)
		}
	})
}
