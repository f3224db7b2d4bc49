package capsign

import (
	"encoding/hex"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"

	"lukechampine.com/blake3"
)

// The provider ids: constant class names, never an instance, so that a key
// cloned to a second HSM keeps its kid. No id is a prefix of another, which
// keeps the concatenation under a kid injective.
const (
	ProviderSoftware = "software"
	ProviderPKCS11   = "pkcs11"
	ProviderCloudKMS = "cloudkms"
)

// providerIDs is the fixed, prefix-free set.
var providerIDs = []string{ProviderSoftware, ProviderPKCS11, ProviderCloudKMS}

// MaxKeyName is the longest key name, in bytes.
const MaxKeyName = 128

// KID returns the identifier of a key version: 64 lower-case hex characters of
//
//	blake3-256(spki || providerID || keyName)
//
// spki is the canonical DER SubjectPublicKeyInfo (see [ParsePublicKey]);
// providerID is one of the Provider constants; keyName is the key's logical
// name. An input outside those rules wraps [BadRequest].
func KID(spki []byte, providerID, keyName string) (string, error) {
	if _, err := ParsePublicKey(spki); err != nil {
		return "", err
	}
	if !slices.Contains(providerIDs, providerID) {
		return "", fmt.Errorf("capsign: kid: provider id %q: %w", providerID, BadRequest)
	}
	if err := CheckKeyName(keyName); err != nil {
		return "", err
	}
	input := slices.Concat(spki, []byte(providerID), []byte(keyName))
	sum := blake3.Sum256(input)
	return hex.EncodeToString(sum[:]), nil
}

// CheckKeyName refuses a key name that is empty, longer than [MaxKeyName], not
// UTF-8, or that holds a character without a printed form.
func CheckKeyName(name string) error {
	if name == "" || len(name) > MaxKeyName || !utf8.ValidString(name) {
		return fmt.Errorf("capsign: key name: %w", BadRequest)
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("capsign: key name: %w", BadRequest)
		}
	}
	return nil
}

// isKID reports whether s has the form of a kid.
func isKID(s string) bool {
	if len(s) != 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
