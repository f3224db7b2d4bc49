package config

import (
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
)

// mission is the example that must load as it is.
const mission = `key:
  provider: pkcs11     # software|pkcs11|cloudkms
  pkcs11:
    module: /usr/lib/softhsm/libsofthsm2.so
    slot: 0
    pin_env: PKCS11_PIN
    key_label: cap-signing
  cloudkms:
    project: my-proj
    location: eu
    keyring: cap-ring
    key: cap-signer
    version: latest
`

// missionConfig is what it says.
func missionConfig() Config {
	cfg := Default()
	cfg.Key.Provider = capsign.ProviderPKCS11
	cfg.Key.PKCS11 = PKCS11{
		Module: "/usr/lib/softhsm/libsofthsm2.so", Slot: new(uint(0)), PINEnv: "PKCS11_PIN", KeyLabel: "cap-signing",
	}
	cfg.Key.CloudKMS = CloudKMS{
		Vendor: VendorGCP, Project: "my-proj", Location: "eu", KeyRing: "cap-ring", Key: "cap-signer", Version: "latest",
	}
	return cfg
}

func mustParse(t *testing.T, text string) Config {
	t.Helper()
	cfg, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestMissionExampleLoadsAsItIs(t *testing.T) {
	if diff := cmp.Diff(missionConfig(), mustParse(t, mission)); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}

func TestWhatAFileLeavesOutIsAsByDefault(t *testing.T) {
	want := Default()
	want.Pool = "release"
	if diff := cmp.Diff(want, mustParse(t, "pool: release\n")); diff != "" {
		t.Error(diff)
	}
}

func TestAbsentSlotDiffersFromZero(t *testing.T) {
	cfg := mustParse(t, strings.Replace(mission, "    slot: 0\n", "", 1))
	if cfg.Key.PKCS11.Slot != nil {
		t.Errorf("slot = %d, want none", *cfg.Key.PKCS11.Slot)
	}
}

func TestValuesOfEveryKind(t *testing.T) {
	cfg := mustParse(t, `
nats: {url: "nats://a:4222, tls://b:4222,c:4222", creds: /etc/cap.creds, allow_lazy_sync: true}
queue: {parallelism: 8, express_ack_wait: 1500ms, result_keep: 1h30m, jobs_max_bytes: 512 MiB, results_max_bytes: 8388608}
log: {level: debug, format: json}
`)
	want := Default()
	want.NATS = NATS{URL: "nats://a:4222, tls://b:4222,c:4222", Creds: "/etc/cap.creds", AllowLazySync: true}
	want.Queue.Parallelism = 8
	want.Queue.ExpressAckWait = 1500 * time.Millisecond
	want.Queue.ResultKeep = 90 * time.Minute
	want.Queue.JobsMaxBytes = 512 << 20
	want.Queue.ResultsMaxBytes = 8 << 20
	want.Log = Log{Level: slog.LevelDebug, Format: "json"}
	if diff := cmp.Diff(want, cfg); diff != "" {
		t.Error(diff)
	}
}

// shipped is the file that comes with cap.
func shipped(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../config/key.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

var (
	commentedKey = regexp.MustCompile(`(?m)^( *)# ( *[a-z0-9_]+:(?: .*)?)$`)
	commentLine  = regexp.MustCompile(`(?m)^ *#.*\n|^\n`)
)

func TestShippedFileIsTheMissionExample(t *testing.T) {
	cfg, err := Load("../../config/key.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(missionConfig(), cfg); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(mission, commentLine.ReplaceAllString(shipped(t), "")); diff != "" {
		t.Error(diff)
	}
}

// uncommented returns the shipped file with every commented key in force but
// those of the given names.
func uncommented(t *testing.T, without ...string) string {
	t.Helper()
	text := commentedKey.ReplaceAllString(shipped(t), "$1$2")
	for _, name := range without {
		text = regexp.MustCompile(`(?m)^ *`+name+`:.*\n`).ReplaceAllString(text, "")
	}
	return text
}

func TestShippedFileUncommented(t *testing.T) {
	_, err := Parse([]byte(uncommented(t)))
	var keys []string
	for _, fault := range faultsOf(t, err) {
		keys = append(keys, fault.Key)
	}
	// Those whose comment says "instead of".
	want := []string{
		"key.pkcs11.pin_file", "key.pkcs11.token_label", "key.pkcs11.token_serial", "key.pkcs11.key_pin_file",
		"key.pkcs11.uri", "key.pkcs11.uri", "key.cloudkms.region", "key.cloudkms.vault_url",
		"key.software.passphrase_file", "nats.listen", "nats.context",
	}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Error(diff)
	}
}

func TestShippedFileUncommentedWithoutAlternatives(t *testing.T) {
	gcp := []string{"region", "vault_url"}
	for _, without := range [][]string{
		append(gcp, "token_label", "token_serial", "uri", "pin_file", "key_pin_file", "passphrase_file", "listen", "context"),
		append(gcp, "slot", "uri", "pin_env", "key_pin_env", "passphrase_env", "listen", "url", "creds"),
		append(gcp, "slot", "token_label", "key_label", "pin_env", "key_pin_env", "passphrase_env", "context", "url", "creds"),
	} {
		cfg := mustParse(t, uncommented(t, without...))
		if cfg.Key.Name != DefaultKeyName || cfg.Key.Software.Dir == "" || cfg.NATS == (NATS{}) ||
			cfg.Key.PKCS11.KeyLabel != "cap-signing" || cfg.Key.PKCS11.KeyID != "01" || cfg.Key.CloudKMS.Endpoint == "" {
			t.Errorf("without %v: the commented values were not read", without)
		}
	}
}

func TestShippedCommentsSayTheDefaults(t *testing.T) {
	cfg := mustParse(t, uncommented(t, "pin_file", "passphrase_file", "passphrase_env", "dir", "context", "url", "creds",
		"token_label", "token_serial", "key_id", "alg", "class", "key_pin_env", "key_pin_file", "init_args", "uri",
		"region", "vault_url", "endpoint", "ca_file", "fallback", "allow_generate", "purpose"))
	want := missionConfig()
	want.Key.Name, want.NATS.Listen = DefaultKeyName, DefaultListen
	if diff := cmp.Diff(want, cfg); diff != "" {
		t.Error(diff)
	}
}

func TestShippedFileNamesEveryKey(t *testing.T) {
	root, _ := parseYAML([]byte(uncommented(t)))
	d := decoder{}
	d.decode(root, new(Config))
	for _, key := range allKeys(reflect.TypeFor[Config](), "") {
		if !d.given(key) {
			t.Errorf("config/key.yaml does not name %s", key)
		}
	}
}

// allKeys returns the dotted keys of a section.
func allKeys(section reflect.Type, in string) (keys []string) {
	for i, name := range keysOf(section) {
		key := join(in, name)
		keys = append(keys, key)
		if field := section.Field(i).Type; field.Kind() == reflect.Struct {
			keys = append(keys, allKeys(field, key)...)
		}
	}
	return keys
}
