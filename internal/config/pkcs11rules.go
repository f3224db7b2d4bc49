package config

import (
	"path/filepath"
	"regexp"
	"strings"

	"github.com/capsign/cap/capsign"
)

// keyIDForm is the form of a CKA_ID: 1 to 64 bytes in hexadecimal.
var keyIDForm = regexp.MustCompile(`^([0-9A-Fa-f]{2}){1,64}$`)

// What CK_TOKEN_INFO has room for, in bytes.
const (
	maxTokenLabel  = 32
	maxTokenSerial = 16
)

// pkcs11 checks the pkcs11 section and its URI together. The section must be
// whole where it is used.
func (r *rules) pkcs11(p PKCS11, used bool) {
	p, stated, problems := p.merged()
	for _, problem := range problems {
		r.that("key.pkcs11.uri", false, problem)
	}
	var fields rules
	fields.token(p)
	fields.tokenKey(p)
	if used && len(problems) == 0 {
		fields.wholePKCS11(p)
	}
	for _, fault := range fields.faults {
		r.faults = append(r.faults, stated.blame(fault))
	}
}

// token checks how the token is found, opened and used.
func (r *rules) token(p PKCS11) {
	r.that("key.pkcs11.module", p.Module == "" || filepath.IsAbs(p.Module), "must be an absolute path")
	r.path("key.pkcs11.module", p.Module)
	r.text("key.pkcs11.token_label", p.TokenLabel, maxTokenLabel)
	r.text("key.pkcs11.token_serial", p.TokenSerial, maxTokenSerial)
	r.that("key.pkcs11.token_label", p.Slot == nil || p.TokenLabel == "", "excludes slot; keep one")
	r.that("key.pkcs11.token_serial", p.Slot == nil || p.TokenSerial == "", "excludes slot; keep one")
	r.secret("key.pkcs11", "pin", p.PINEnv, p.PINFile)
	between(r, "key.pkcs11.sessions", p.Sessions, 0, 1024, "0", "1024")
	if p.Class != "" {
		r.oneOf("key.pkcs11.class", string(p.Class), string(capsign.ClassToken), string(capsign.ClassChip))
	}
	r.that("key.pkcs11.init_args", !strings.ContainsRune(p.InitArgs, 0), "must not hold a NUL character")
}

// tokenKey checks how the key is found on the token.
func (r *rules) tokenKey(p PKCS11) {
	r.keyName("key.pkcs11.key_label", p.KeyLabel)
	r.that("key.pkcs11.key_id", p.KeyID == "" || keyIDForm.MatchString(p.KeyID),
		"must be 1 to 64 bytes in hexadecimal, two digits each, in quotes")
	r.secret("key.pkcs11", "key_pin", p.KeyPINEnv, p.KeyPINFile)
	if p.Alg != "" {
		r.alg("key.pkcs11.alg", p.Alg, deviceAlgs...)
	}
}

// wholePKCS11 requires what a worker cannot do without.
func (r *rules) wholePKCS11(p PKCS11) {
	r.given("key.pkcs11.module", p.Module, "provider pkcs11")
	r.that("key.pkcs11.key_label", p.KeyLabel+p.KeyID != "", "missing; provider pkcs11 needs it, or key_id")
	r.that("key.pkcs11.pin_env", p.PINEnv+p.PINFile != "", "missing; provider pkcs11 needs it, or pin_file")
}
