package pkcs11

import (
	"strconv"
	"strings"
)

// versionLabel returns the CKA_LABEL of version n of the key: the key's own for
// the first, and key.n for the others.
func versionLabel(key string, n int) string {
	if n == 1 {
		return key
	}
	return key + "." + strconv.Itoa(n)
}

// versionNumber returns which version of the key bears label; zero means none.
func versionNumber(key, label string) int {
	if label == key {
		return 1
	}
	digits, ok := strings.CutPrefix(label, key+".")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 2 || versionLabel(key, n) != label {
		return 0
	}
	return n
}
