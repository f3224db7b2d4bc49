package config

import (
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// plainKey is what an unknown key must look like to be repeated: no known
// secret's format does.
var plainKey = regexp.MustCompile(`^[a-z]{1,12}([_-][a-z]{1,12}){0,2}$`)

// anyKey is what a key must look like to be a slip of another.
var anyKey = regexp.MustCompile(`^[A-Za-z0-9_-]{2,32}$`)

// cloudHint tells where a cloud's credentials come from.
const cloudHint = "credentials do not belong in the file; the vendor's own chain finds them in the worker's environment"

// secretHints tell those who put a secret into the file where it belongs.
var secretHints = map[string]string{
	"key.pkcs11.pin":                 "a PIN does not belong in the file; name a variable in pin_env or a file in pin_file",
	"key.pkcs11.key_pin":             "a PIN does not belong in the file; name a variable in key_pin_env or a file in key_pin_file",
	"key.software.passphrase":        "a passphrase does not belong in the file; name a variable in passphrase_env or a file in passphrase_file",
	"key.cloudkms.access_key_id":     cloudHint,
	"key.cloudkms.secret_access_key": cloudHint,
	"key.cloudkms.session_token":     cloudHint,
	"key.cloudkms.client_secret":     cloudHint,
	"key.cloudkms.credentials":       cloudHint,
	"nats.user":                      "credentials do not belong in the file; name a credentials file in creds",
	"nats.password":                  "credentials do not belong in the file; name a credentials file in creds",
	"nats.token":                     "credentials do not belong in the file; name a credentials file in creds",
	"nats.nkey":                      "credentials do not belong in the file; name a credentials file in creds",
	"nats.seed":                      "credentials do not belong in the file; name a credentials file in creds",
}

// unknownKey returns the fault of a key that its section does not have.
func (d *decoder) unknownKey(section string, name, value *yaml.Node, in reflect.Type) Fault {
	key := join(section, name.Value)
	if hint, ok := secretHints[key]; ok {
		return Fault{Key: key, Problem: hint}
	}
	if known := nearest(name.Value, keysOf(in)); known != "" {
		return Fault{Key: key, Problem: "unknown key; did you mean " + known + "?"}
	}
	fault := Fault{Key: section, Problem: "unknown key in this section"}
	if section == "" {
		fault.Problem = "unknown key"
	}
	if !repeatable(name, value) {
		return fault
	}
	fault = Fault{Key: key, Problem: "unknown key"}
	if home := sectionOf(name.Value, d.schema, ""); home != "" {
		fault.Problem += "; did you mean " + home + "?"
	}
	return fault
}

// repeatable reports whether an unknown key may be named in an error: it looks
// like a key and has a value of its own, so it is not a value out of place.
func repeatable(name, value *yaml.Node) bool {
	return name.Kind == yaml.ScalarNode && value.Tag != "!!null" && plainKey.MatchString(name.Value)
}

// sectionOf returns the dotted key under which some section has name, or "".
func sectionOf(name string, in reflect.Type, section string) string {
	for i, key := range keysOf(in) {
		if key == name {
			return join(section, key)
		}
		if field := in.Field(i).Type; field.Kind() == reflect.Struct {
			if found := sectionOf(name, field, join(section, key)); found != "" {
				return found
			}
		}
	}
	return ""
}

// nearest returns the known key that name is most likely a slip of, or "".
func nearest(name string, known []string) string {
	best, least := "", 3
	if !anyKey.MatchString(name) {
		return ""
	}
	for _, key := range known {
		d := distance(fold(name), fold(key))
		if d < least && d <= max(1, len(key)/3) {
			best, least = key, d
		}
	}
	return best
}

// fold makes pinEnv, pin-env and PIN_ENV the same.
func fold(key string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(key))
}

// distance returns how many letters to insert, delete, change or swap with
// their neighbour to get from a to b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			rows[i][j] = step(rows, a, b, i, j)
		}
	}
	return rows[len(a)][len(b)]
}

// step returns the distance of a[:i] from b[:j], given all the shorter ones.
func step(rows [][]int, a, b string, i, j int) int {
	if i == 0 || j == 0 {
		return i + j
	}
	if a[i-1] == b[j-1] {
		return rows[i-1][j-1]
	}
	least := 1 + min(rows[i-1][j], rows[i][j-1], rows[i-1][j-1])
	if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
		least = min(least, 1+rows[i-2][j-2])
	}
	return least
}
