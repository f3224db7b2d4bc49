package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
)

// faultsOf returns the faults of an error that must be one of a configuration.
func faultsOf(t *testing.T, err error) []Fault {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || !errors.Is(err, capsign.ConfigInvalid) {
		t.Fatalf("error %v, want a *config.Error", err)
	}
	return e.Faults
}

// lines returns one text per fault of a file that must be refused.
func lines(t *testing.T, text string) []string {
	t.Helper()
	_, err := Parse([]byte(text))
	var lines []string
	for _, fault := range faultsOf(t, err) {
		place := ""
		if fault.Line > 0 {
			place = fmt.Sprintf("%d:%d ", fault.Line, fault.Column)
		}
		lines = append(lines, place+strings.TrimPrefix(fault.Key+": ", ": ")+fault.Problem)
	}
	return lines
}

func TestFilesThatAreNotOneDocument(t *testing.T) {
	const nothing = "the file says nothing; leave it out to run with the defaults"
	for name, test := range map[string]struct{ file, want string }{
		"empty":             {"", nothing},
		"comments":          {"# key:\n", nothing},
		"null":              {"null\n", nothing},
		"tilde":             {"~", nothing},
		"document marker":   {"---\n", nothing},
		"scalar":            {"hunter2", "1:1 must be a section of keys and values"},
		"list":              {"- key\n", "1:1 must be a section of keys and values"},
		"second document":   {"pool: a\n---\npool: b\n", "2:1 a second document starts here; only one is read"},
		"second, empty":     {"pool: a\n---\n", "2:1 a second document starts here; only one is read"},
		"second, broken":    {"pool: a\n---\n[", "4:1 not valid YAML"},
		"tab":               {"key:\n\tprovider: software\n", "2:1 a tab cannot indent; use spaces"},
		"tab after spaces":  {"key:\n  provider: software\n \tname: a\n", "3:2 a tab cannot indent; use spaces"},
		"two colons":        {"pool: a: b\n", `1:8 a second ":" in one line; quote the value if it holds one`},
		"at sign":           {"pool: @hunter2\n", "1:7 a value cannot start with this character; quote it"},
		"open quote":        {"pool: \"hunter2\n", "1:7 a quote that opens here is never closed"},
		"open bracket":      {"key: {name: a\n", "1:6 a bracket that opens here is never closed"},
		"indentation":       {"key:\n  name: a\n b: c\n", "3:2 the indentation does not match the lines above, or a value is not quoted"},
		"unknown alias":     {"pool: *hunter2\n", "1:7 anchors and aliases are not supported; write the value out"},
		"too deep":          {strings.Repeat("[", 40), "1:17 nested too deeply"},
		"deep blocks":       {strings.Repeat("- ", 40), "1:33 nested too deeply"},
		"not UTF-8":         {"pool: a\ndata: b\xff\n", "2:8 the file is not UTF-8 text"},
		"UTF-16":            {"\xff\xfep\x00", "1:1 the file is not UTF-8 text"},
		"NUL":               {"pool: a\x00b\n", "1:8 control characters are not allowed"},
		"escape":            {"pool: \x1b[31m\n", "1:7 control characters are not allowed"},
		"unknown directive": {"%YAML 3.0\n---\npool: a\n", "1:1 not valid YAML"},
		"oversize":          {"pool: a\n#" + strings.Repeat("x", maxSize), "the file is larger than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff([]string{test.want}, lines(t, test.file)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestKeysThatAreNotKnown(t *testing.T) {
	for name, test := range map[string]struct{ file, want string }{
		"misspelt":         {"poll: a\n", "1:1 poll: unknown key; did you mean pool?"},
		"swapped":          {"log: {fromat: text}\n", "1:7 log.fromat: unknown key; did you mean format?"},
		"another style":    {"queue: {maxDeliveries: 3}\n", "1:9 queue.maxDeliveries: unknown key; did you mean max_deliveries?"},
		"upper case":       {"POOL: a\n", "1:1 POOL: unknown key; did you mean pool?"},
		"in another place": {"listen: 127.0.0.1:0\n", "1:1 listen: unknown key; did you mean nats.listen?"},
		"quite unknown":    {"log: {colour: red}\n", "1:7 log.colour: unknown key"},
		"telemetry":        {"telemetry: {}\n", "1:1 telemetry: unknown key"},
		"a value":          {"log: {hunter}\n", "1:7 log: unknown key in this section"},
		"like a secret":    {"log:\n  hunter2: x\n", "2:3 log: unknown key in this section"},
		"at the top":       {"hunter2: x\n", "1:1 unknown key"},
		"a list":           {"? [hunter]\n: x\n", "1:3 unknown key"},
		"a number":         {"1234: x\n", "1:1 unknown key"},
		"merge":            {"log: {<<: {format: json}}\n", "1:7 log: unknown key in this section"},
		"tagged":           {"!!str log: {format: json}\n", "1:1 log: unknown key; did you mean log?"},
		"duplicate":        {"pool: a\ndata: b\npool: c\n", "3:1 pool: given twice; first on line 1"},
		"duplicate inside": {"log:\n  format: text\n  \"format\": text\n", "3:3 log.format: given twice; first on line 2"},
		"password":         {"nats: {password: hunter2}\n", "1:8 nats.password: credentials do not belong in the file; name a credentials file in creds"},
		"key PIN":          {"key: {provider: software, pkcs11: {key_pin: 1}}\n", "1:36 key.pkcs11.key_pin: a PIN does not belong in the file; name a variable in key_pin_env or a file in key_pin_file"},
		"cloud secret":     {"key: {provider: software, cloudkms: {client_secret: x}}\n", "1:38 key.cloudkms.client_secret: credentials do not belong in the file; the vendor's own chain finds them in the worker's environment"},
		"passphrase":       {"key: {provider: software, software: {passphrase: x}}\n", "1:38 key.software.passphrase: a passphrase does not belong in the file; name a variable in passphrase_env or a file in passphrase_file"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff([]string{test.want}, lines(t, test.file)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestValuesThatCannotBeRead(t *testing.T) {
	const (
		whole = "must be a whole decimal number, not negative"
		text  = "must be text; quote it if it looks like something else"
		size  = "must be a number of bytes, or of KiB, MiB, GiB or TiB, such as 512MiB"
		long  = "must be a duration such as 500ms, 30s or 24h"
	)
	for entry, want := range map[string]string{
		"pool: 5":                              "1:1 pool: " + text,
		"pool: true":                           "1:1 pool: " + text,
		"pool: 2026-01-01":                     "1:1 pool: " + text,
		"pool: [a]":                            "1:1 pool: " + text,
		"pool:":                                "1:1 pool: has no value; give it one or remove it",
		"pool: null":                           "1:1 pool: has no value; give it one or remove it",
		"pool: !!str a":                        "1:1 pool: tags are not supported",
		"pool: &a b":                           "1:1 pool: anchors and aliases are not supported; write the value out",
		"log: text":                            "1:1 log: must be a section of keys and values",
		"log:":                                 "1:1 log: has no value; give it one or remove it",
		"log: {level: loud}":                   "1:7 log.level: must be one of debug, info, warn, error",
		"nats: {allow_lazy_sync: yes}":         "1:8 nats.allow_lazy_sync: must be true or false",
		"nats: {allow_lazy_sync: 'true'}":      "1:8 nats.allow_lazy_sync: must be true or false",
		"queue: {replicas: three}":             "1:9 queue.replicas: " + whole,
		"queue: {replicas: '3'}":               "1:9 queue.replicas: " + whole,
		"queue: {replicas: 3.0}":               "1:9 queue.replicas: " + whole,
		"queue: {replicas: -1}":                "1:9 queue.replicas: " + whole,
		"queue: {replicas: 03}":                "1:9 queue.replicas: " + whole,
		"queue: {replicas: 0x3}":               "1:9 queue.replicas: " + whole,
		"queue: {replicas: 1_0}":               "1:9 queue.replicas: " + whole,
		"queue: {parallelism: 1" + zeros(30):   "1:9 queue.parallelism: " + whole,
		"queue: {result_keep: 24}":             "1:9 queue.result_keep: " + long,
		"queue: {result_keep: 1 day}":          "1:9 queue.result_keep: " + long,
		"queue: {result_keep: [24h]}":          "1:9 queue.result_keep: " + long,
		"queue: {jobs_max_bytes: 1GB}":         "1:9 queue.jobs_max_bytes: " + size,
		"queue: {jobs_max_bytes: GiB}":         "1:9 queue.jobs_max_bytes: " + size,
		"queue: {jobs_max_bytes: 8388608TiB}":  "1:9 queue.jobs_max_bytes: " + size,
		"queue: {jobs_max_bytes: 1.5GiB}":      "1:9 queue.jobs_max_bytes: " + size,
		"key: {provider: 1}":                   "1:7 key.provider: " + text,
		"key: software":                        "1:1 key: must be a section of keys and values",
		"key: {provider: pkcs11, pkcs11: yes}": "1:25 key.pkcs11: must be a section of keys and values",
	} {
		t.Run(entry, func(t *testing.T) {
			if diff := cmp.Diff([]string{want}, lines(t, entry)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// zeros ends a number of n zeros and its section.
func zeros(n int) string { return strings.Repeat("0", n) + "}" }

func TestValuesThatBreakARule(t *testing.T) {
	const (
		address  = "nats.listen: must be a loopback address and a port, such as 127.0.0.1:4222"
		urls     = "nats.url: must be one or more URLs such as nats://host:4222, with commas between them"
		userinfo = "nats.url: must not hold a user, password or token; name a credentials file in nats.creds"
		token    = `pool: must be 1 to 32 characters out of A-Z, a-z, 0-9, "_" and "-"`
	)
	for entry, want := range map[string]string{
		"pool: a.b":            "1:1 " + token,
		"pool: '>'":            "1:1 " + token,
		"pool: ''":             "1:1 " + token,
		"data: ''":             "1:1 data: must not be empty",
		"key: {}":              "1:1 key.provider: must be one of software, pkcs11, cloudkms",
		"key: {provider: tpm}": "1:7 key.provider: must be one of software, pkcs11, cloudkms",
		"key: {provider: software, name: \"a\\nb\"}":                                            "1:27 key.name: must be at most 128 bytes of printable text",
		"key: {provider: software, software: {alg: RS256}}":                                     "1:38 key.software.alg: must be one of Ed25519, ES256",
		"key: {provider: software, software: {passphrase_env: 'pa ss'}}":                        "1:38 key.software.passphrase_env: must be the name of an environment variable, not the secret itself",
		"key: {provider: pkcs11, pkcs11: {module: a.so, pin_env: A, key_label: a}}":             "1:34 key.pkcs11.module: must be an absolute path",
		"key: {provider: pkcs11, pkcs11: {module: /a.so, pin_env: '1234', key_label: a}}":       "1:49 key.pkcs11.pin_env: must be the name of an environment variable, not the secret itself",
		"key: {provider: cloudkms, cloudkms: {project: a/b, location: eu, keyring: a, key: b}}": `1:38 key.cloudkms.project: must be a project's id: small letters, digits, ".", ":" and "-", 63 at most`,
		"key: {provider: software, cloudkms: {version: newest}}":                                "1:38 key.cloudkms.version: must be latest, or a version's number in quotes",
		"nats: {url: nats://user:hunter2@a:4222}":                                               "1:8 " + userinfo,
		"nats: {url: 'nats://a,token@b'}":                                                       "1:8 " + userinfo,
		"nats: {url: nats://a?token=hunter2}":                                                   "1:8 " + urls,
		"nats: {url: http://a}":                                                                 "1:8 " + urls,
		"nats: {url: 'nats://a,,'}":                                                             "1:8 " + urls,
		"nats: {url: 'nats://a:b'}":                                                             "1:8 " + urls,
		"nats: {context: a, url: nats://b}":                                                     "1:8 nats.context: excludes nats.url; keep one",
		"nats: {context: a, listen: 127.0.0.1:1}":                                               "1:20 nats.listen: is the embedded server's, which does not run with nats.url or nats.context",
		"nats: {creds: /a}":                                                                     "1:8 nats.creds: goes with nats.url only",
		"nats: {listen: 0.0.0.0:4222}":                                                          "1:8 " + address,
		"nats: {listen: '127.0.0.1'}":                                                           "1:8 " + address,
		"nats: {listen: 127.0.0.1:65536}":                                                       "1:8 " + address,
		"queue: {replicas: 0}":                                                                  "1:9 queue.replicas: must be from 1 to 5",
		"queue: {prefetch: 65537}":                                                              "1:9 queue.prefetch: must be from 0 to 65536",
		"queue: {result_keep: 0s}":                                                              "1:9 queue.result_keep: must be from 1m to 8784h",
		"queue: {bulk_ack_wait: -5s}":                                                           "1:9 queue.bulk_ack_wait: must be from 100ms to 10m",
		"queue: {jobs_max_bytes: 0}":                                                            "1:9 queue.jobs_max_bytes: must be from 4MiB to 64TiB",
		"log: {format: xml}":                                                                    "1:7 log.format: must be one of text, json",
	} {
		t.Run(entry, func(t *testing.T) {
			if diff := cmp.Diff([]string{want}, lines(t, entry)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestProviderNeedsItsSection(t *testing.T) {
	for provider, want := range map[string][]string{
		"pkcs11": {
			"1:1 key.pkcs11.module: missing; provider pkcs11 needs it",
			"1:1 key.pkcs11.key_label: missing; provider pkcs11 needs it, or key_id",
			"1:1 key.pkcs11.pin_env: missing; provider pkcs11 needs it, or pin_file",
		},
		"cloudkms": {
			"1:1 key.cloudkms.project: missing; vendor gcp needs it",
			"1:1 key.cloudkms.location: missing; vendor gcp needs it",
			"1:1 key.cloudkms.keyring: missing; vendor gcp needs it",
			"1:1 key.cloudkms.key: missing; vendor gcp needs it",
		},
	} {
		if diff := cmp.Diff(want, lines(t, "key: {provider: "+provider+"}")); diff != "" {
			t.Error(diff)
		}
	}
}

func TestEveryFaultIsReportedAtOnce(t *testing.T) {
	got := lines(t, `key:
  provider: pkcs11
  pkcs11:
    pin: 1234
    slot: first
    pin_file: /a
    module: lib.so
pool: a b
nats: {url: nats://a, context: b}
pool: c
colour: red
queue:
  replicas: 7
---
pool: d
`)
	want := []string{
		"3:3 key.pkcs11.key_label: missing; provider pkcs11 needs it, or key_id",
		"4:5 key.pkcs11.pin: a PIN does not belong in the file; name a variable in pin_env or a file in pin_file",
		"5:5 key.pkcs11.slot: must be a whole decimal number, not negative",
		"7:5 key.pkcs11.module: must be an absolute path",
		`8:1 pool: must be 1 to 32 characters out of A-Z, a-z, 0-9, "_" and "-"`,
		"9:23 nats.context: excludes nats.url; keep one",
		"10:1 pool: given twice; first on line 8",
		"11:1 colour: unknown key",
		"13:3 queue.replicas: must be from 1 to 5",
		"14:1 a second document starts here; only one is read",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestErrorTextIsBounded(t *testing.T) {
	_, err := Parse([]byte(strings.Repeat("hunter2: x\n", 1000)))
	if text := err.Error(); len(text) > 4096 || !strings.HasSuffix(text, "\n  and 975 more") {
		t.Errorf("%d bytes of text ending %q", len(text), text[max(0, len(text)-40):])
	}
}

// Each alias stands for nine of the one before: written out, a terabyte.
func TestAliasBombIsNotExpanded(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 hunter2\n")
	for i := range 12 {
		fmt.Fprintf(&bomb, "a%d: &a%d [%s*a%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 8), i)
	}
	if got := lines(t, bomb.String()+"pool: *a12\n"); got[len(got)-1] != "14:1 pool: anchors and aliases are not supported; write the value out" {
		t.Error(got[len(got)-1])
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := syscall.Mkfifo(path("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.WriteFile(path("closed"), []byte(mission), 0o000),
		os.Symlink(path("loop"), path("loop")),
		os.WriteFile(path("large"), []byte(strings.Repeat("#\n", maxSize)), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]string{
		path("missing"): "the file does not exist",
		path("loop"):    "the file cannot be opened",
		path("large"):   "the file is larger than 1048576 bytes",
		path("fifo"):    "not a regular file",
		dir:             "a directory is not a configuration file",
		"/dev/zero":     "not a regular file",
		"":              "the file does not exist",
	}
	if os.Geteuid() != 0 { // root may read anything
		tests[path("closed")] = "no permission to read the file"
	}
	for path, want := range tests {
		_, err := Load(path)
		if got := err.Error(); got != "config: "+want+": config_invalid" {
			t.Errorf("%s: %s", path, got)
		}
	}
}
