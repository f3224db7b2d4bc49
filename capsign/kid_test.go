package capsign_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/capsign/cap/capsign"
)

// readVectors decodes a file of testdata.
func readVectors(t testing.TB, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
}

// unhex decodes hex.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	data, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// kidVector is an entry of kid_vectors.json.
type kidVector struct {
	Key        string `json:"key"`
	SPKI       string `json:"spki"`
	ProviderID string `json:"provider_id"`
	KeyName    string `json:"key_name"`
	KID        string `json:"kid"`
}

// The vectors come from testdata/kid_vectors.py, a program that shares nothing
// with cap. They are frozen: a kid that changes is a key that is lost.
func TestKIDVectors(t *testing.T) {
	var vectors []kidVector
	readVectors(t, "kid_vectors.json", &vectors)
	seen := make(map[string]bool)
	for _, v := range vectors {
		kid, err := capsign.KID(unhex(t, v.SPKI), v.ProviderID, v.KeyName)
		if err != nil || kid != v.KID {
			t.Errorf("%s, %s, %q: kid %s, %v; want %s", v.Key, v.ProviderID, v.KeyName, kid, err, v.KID)
		}
		if seen[kid] {
			t.Errorf("%s, %s, %q: kid %s twice", v.Key, v.ProviderID, v.KeyName, kid)
		}
		seen[kid] = true
	}
	if len(vectors) < 60 {
		t.Errorf("only %d vectors", len(vectors))
	}
}

const (
	rfc8410Prefix = "302a300506032b6570032100"
	rfc8410SPKI   = rfc8410Prefix + "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
)

// A kid hashes three parts one after the other. Of all the ways to cut such an
// input into three, exactly one may be accepted.
func TestKIDInputHasOneSplit(t *testing.T) {
	spki := string(unhex(t, rfc8410SPKI))
	for _, provider := range []string{capsign.ProviderSoftware, capsign.ProviderPKCS11, capsign.ProviderCloudKMS} {
		for _, name := range []string{"a", provider, "softwarepkcs11cloudkms", "kms", "11", "s"} {
			input := spki + provider + name
			var splits []string
			for i := range len(input) + 1 {
				for j := i; j <= len(input); j++ {
					if _, err := capsign.KID([]byte(input[:i]), input[i:j], input[j:]); err == nil {
						splits = append(splits, input[i:j]+" "+input[j:])
					}
				}
			}
			if len(splits) != 1 || splits[0] != provider+" "+name {
				t.Errorf("%s and %q can be read as %q", provider, name, splits)
			}
		}
	}
}

func TestKIDRefusals(t *testing.T) {
	spki := unhex(t, rfc8410SPKI)
	for name, input := range map[string]struct {
		spki              []byte
		provider, keyName string
	}{
		"no SPKI":             {nil, "software", "a"},
		"raw public key":      {spki[12:], "software", "a"},
		"no provider":         {spki, "", "a"},
		"provider of another": {spki, "azurekms", "a"},
		"provider upper case": {spki, "Software", "a"},
		"provider instance":   {spki, "pkcs11-2", "a"},
		"no name":             {spki, "software", ""},
		"name too long":       {spki, "software", strings.Repeat("n", capsign.MaxKeyName+1)},
		"name not UTF-8":      {spki, "software", "a\xff"},
		"name with NUL":       {spki, "software", "a\x00"},
		"name with line feed": {spki, "software", "a\nb"},
		"name with escape":    {spki, "software", "\x1b[2Ja"},
		"right-to-left":       {spki, "software", "a\u202eb"},
		"zero-width space":    {spki, "software", "a\u200bb"},
		"byte order mark":     {spki, "software", "\ufeffa"},
		"private use":         {spki, "software", "a\ue000"},
		"non-breaking space":  {spki, "software", "a\u00a0b"},
		"line separator":      {spki, "software", "a\u2028b"},
		"lone surrogate":      {spki, "software", "a\xed\xa0\x80"},
	} {
		if kid, err := capsign.KID(input.spki, input.provider, input.keyName); kid != "" || !errors.Is(err, capsign.BadRequest) {
			t.Errorf("%s: KID = %q, %v; want %v", name, kid, err, capsign.BadRequest)
		}
	}
}
