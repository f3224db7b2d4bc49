package software

import (
	"bytes"
	"crypto"
	"encoding/pem"

	"github.com/capsign/cap/capsign"
)

// parseKeyFile returns the one private key in a key file. A passphrase that is
// not nil must be the one the file is encrypted with. Errors are bare codes:
// KeyFileInvalid, KeyFileUnsafe, PassphraseIncorrect or UnsupportedAlg.
func parseKeyFile(data, passphrase []byte) (crypto.Signer, error) {
	if isEncrypted(data) {
		plain, err := decrypt(data, passphrase)
		if err != nil {
			return nil, err
		}
		defer clear(plain)
		return parsePlain(plain)
	}
	private, err := parsePlain(data)
	if err == nil && passphrase != nil {
		return nil, capsign.KeyFileUnsafe
	}
	return private, err
}

// parsePlain parses PKCS#8 in PEM or DER, or SEC1 in PEM. White space may
// stand around PEM, and lines may end in CRLF; nothing else may stand beside
// the key.
func parsePlain(data []byte) (crypto.Signer, error) {
	text := bytes.TrimSpace(data)
	begin := []byte("-----BEGIN ")
	if !bytes.HasPrefix(text, begin) {
		return parsePKCS8(data)
	}
	block, rest := pem.Decode(text)
	// pem.Decode skips a block that it cannot read, so count them as well.
	if block == nil || len(rest) != 0 || bytes.Count(text, begin) != 1 || len(block.Headers) != 0 {
		return nil, capsign.KeyFileInvalid
	}
	defer clear(block.Bytes)
	switch block.Type {
	case "PRIVATE KEY":
		return parsePKCS8(block.Bytes)
	case "EC PRIVATE KEY":
		return parseSEC1(block.Bytes)
	case "RSA PRIVATE KEY", "DSA PRIVATE KEY":
		return nil, capsign.UnsupportedAlg
	}
	return nil, capsign.KeyFileInvalid
}
