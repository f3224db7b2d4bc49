package software

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/capsign/cap/capsign"
)

// maxWorkFactor bounds the memory that opening a file may take to 1 GiB; age
// itself writes 18.
const maxWorkFactor = 20

// binaryHeader begins an age file without armor.
const binaryHeader = "age-encryption.org/"

// isEncrypted reports whether data is an age file, armored or binary.
func isEncrypted(data []byte) bool {
	return isArmored(data) || bytes.HasPrefix(data, []byte(binaryHeader))
}

// isArmored reports whether data is an armored age file.
func isArmored(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(data), []byte(armor.Header))
}

// decrypt opens an age file. Its errors are bare codes: PassphraseIncorrect,
// also where there is no passphrase, or KeyFileInvalid where the file was
// damaged.
func decrypt(data, passphrase []byte) ([]byte, error) {
	identity, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, capsign.PassphraseIncorrect // age refuses an empty one
	}
	identity.SetMaxWorkFactor(maxWorkFactor)
	var file io.Reader = bytes.NewReader(data)
	if isArmored(data) {
		file = armor.NewReader(file)
	}
	plain, err := age.Decrypt(file, identity)
	if wrong := new(age.NoIdentityMatchError); errors.As(err, &wrong) {
		return nil, capsign.PassphraseIncorrect
	}
	if err != nil {
		return nil, capsign.KeyFileInvalid
	}
	content, err := io.ReadAll(plain)
	if err != nil {
		clear(content)
		return nil, capsign.KeyFileInvalid
	}
	return content, nil
}

// encrypt makes an armored age file.
func encrypt(plain, passphrase []byte, workFactor int) ([]byte, error) {
	recipient, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return nil, fmt.Errorf("software: encrypt key: %w", capsign.ConfigInvalid)
	}
	if workFactor != 0 {
		recipient.SetWorkFactor(workFactor)
	}
	var file bytes.Buffer
	armored := armor.NewWriter(&file)
	content, err := age.Encrypt(armored, recipient)
	if err != nil {
		return nil, fmt.Errorf("software: encrypt key: %w", capsign.Internal)
	}
	_, writeErr := content.Write(plain)
	if err := errors.Join(writeErr, content.Close(), armored.Close()); err != nil {
		return nil, fmt.Errorf("software: encrypt key: %w", capsign.Internal)
	}
	return file.Bytes(), nil
}
