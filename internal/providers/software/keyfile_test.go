package software

import (
	"bytes"
	"encoding/pem"
	"errors"
	"os/exec"
	"testing"

	"github.com/capsign/cap/capsign"
)

// derOf returns what is inside a PEM file of testdata.
func derOf(t testing.TB, name string) []byte {
	t.Helper()
	block, _ := pem.Decode(testdata(t, name))
	return block.Bytes
}

// crlf gives text the line ends of Windows.
func crlf(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")) }

// openssl has the openssl program make a key file.
func openssl(t testing.TB, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "openssl", args...).Output()
	if err != nil {
		t.Fatalf("this test needs the openssl program: openssl %v: %v", args, err)
	}
	return out
}

func TestSpoiltFilesAreRefused(t *testing.T) {
	ed, p256 := testdata(t, "rfc8410-v1.pem"), testdata(t, "p256.pem")
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	public := openssl(t, "pkey", "-in", "testdata/p256.pem", "-pubout")
	for name, file := range map[string]struct {
		content []byte
		want    capsign.Code
	}{
		"empty":                      {nil, capsign.KeyFileInvalid},
		"white space":                {[]byte(" \n\n"), capsign.KeyFileInvalid},
		"zeros":                      {make([]byte, 48), capsign.KeyFileInvalid},
		"text after the key":         {join(ed, []byte("x")), capsign.KeyFileInvalid},
		"text before the key":        {join([]byte("x\n"), ed), capsign.KeyFileInvalid},
		"the same key twice":         {join(ed, ed), capsign.KeyFileInvalid},
		"two keys":                   {join(ed, p256), capsign.KeyFileInvalid},
		"a broken key, then a whole": {join([]byte("-----BEGIN PRIVATE KEY-----\n!\n"), ed), capsign.KeyFileInvalid},
		"key and its public key":     {join(p256, public), capsign.KeyFileInvalid},
		"public key":                 {public, capsign.KeyFileInvalid},
		"PEM headers":                {bytes.Replace(ed, []byte("-\nM"), []byte("-\nA: b\n\nM"), 1), capsign.KeyFileInvalid},
		"bytes after DER":            {join(derOf(t, "rfc8410-v1.pem"), []byte{0}), capsign.KeyFileInvalid},
		"longer than 64 KiB":         {join(ed, bytes.Repeat([]byte("\n"), 64<<10)), capsign.KeyFileInvalid},
		"much longer":                {make([]byte, 10<<20), capsign.KeyFileInvalid},
		"unknown PEM block":          {bytes.ReplaceAll(ed, []byte("PRIVATE"), []byte("OPENSSH PRIVATE")), capsign.KeyFileInvalid},
		"PKCS#8 under a password":    {openssl(t, "pkcs8", "-topk8", "-in", "testdata/p256.pem", "-passout", "pass:x"), capsign.KeyFileInvalid},
		"SEC1 as PKCS#8":             {bytes.ReplaceAll(testdata(t, "p256-sec1.pem"), []byte("EC PRIVATE"), []byte("PRIVATE")), capsign.KeyFileInvalid},
		"PKCS#8 as SEC1":             {bytes.ReplaceAll(p256, []byte("PRIVATE"), []byte("EC PRIVATE")), capsign.KeyFileInvalid},
		"parameters before SEC1":     {openssl(t, "ecparam", "-genkey", "-name", "prime256v1"), capsign.KeyFileInvalid},
		"RSA":                        {openssl(t, "genrsa", "2048"), capsign.UnsupportedAlg},
		"RSA PKCS#1":                 {openssl(t, "genrsa", "-traditional", "2048"), capsign.UnsupportedAlg},
		"P-384":                      {openssl(t, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"), capsign.UnsupportedAlg},
		"P-384 SEC1":                 {openssl(t, "ecparam", "-genkey", "-noout", "-name", "secp384r1"), capsign.UnsupportedAlg},
		"secp256k1":                  {openssl(t, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"), capsign.UnsupportedAlg},
		"Ed448":                      {openssl(t, "genpkey", "-algorithm", "ED448"), capsign.UnsupportedAlg},
		"X25519":                     {openssl(t, "genpkey", "-algorithm", "X25519"), capsign.UnsupportedAlg},
		"P-256 with explicit curve":  {openssl(t, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"), capsign.KeyFileInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newConfig(t, "")
			place(t, cfg, 1, file.content)
			mustNotOpen(t, cfg, file.want)
		})
	}
}

// A file with a public key that is not the private key's own says two things.
func TestMismatchOfPublicKeyIsRefused(t *testing.T) {
	for _, name := range []string{"rfc8410-v2.pem", "p256.pem", "p256-sec1.pem"} {
		block, _ := pem.Decode(testdata(t, name))
		block.Bytes[len(block.Bytes)-1] ^= 1 // they all end in the public key
		cfg := newConfig(t, "")
		place(t, cfg, 1, pem.EncodeToMemory(block))
		mustNotOpen(t, cfg, capsign.KeyFileInvalid)
	}
}

func TestTruncatedFilesAreRefused(t *testing.T) {
	for _, name := range []string{"rfc8410-v1.pem", "rfc8410-v2.pem", "p256.pem", "p256-sec1.pem"} {
		whole := bytes.TrimSpace(testdata(t, name))
		if _, err := parseKeyFile(whole, nil); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for length := range len(whole) {
			if _, err := parseKeyFile(whole[:length], nil); !errors.Is(err, capsign.KeyFileInvalid) {
				t.Errorf("%s cut to %d bytes: %v, want %v", name, length, err, capsign.KeyFileInvalid)
			}
		}
	}
}
