package config

import (
	"fmt"
	"path/filepath"
	"regexp"

	"github.com/capsign/cap/capsign"
)

// Forms that values must have.
var (
	variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	resourceForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}$`)
	versionForm  = regexp.MustCompile(`^(latest|[1-9][0-9]{0,9})$`)
)

// key checks the key section.
func (r *rules) key(k Key) {
	r.keyName("key.name", k.Name)
	r.oneOf("key.provider", k.Provider, capsign.ProviderSoftware, capsign.ProviderPKCS11, capsign.ProviderCloudKMS)
	r.software(k.Software)
	r.pkcs11(k.PKCS11, k.Provider == capsign.ProviderPKCS11)
	r.cloudKMS(k.CloudKMS, k.Provider == capsign.ProviderCloudKMS)
}

// software checks the software section.
func (r *rules) software(s Software) {
	r.path("key.software.dir", s.Dir)
	r.oneOf("key.software.alg", string(s.Alg), string(capsign.Ed25519), string(capsign.ES256))
	r.secret("key.software", "passphrase", s.PassphraseEnv, s.PassphraseFile)
}

// pkcs11 checks the pkcs11 section, which must be whole where it is used.
func (r *rules) pkcs11(p PKCS11, used bool) {
	const provider = "provider pkcs11"
	r.that("key.pkcs11.module", p.Module == "" || filepath.IsAbs(p.Module), "must be an absolute path")
	r.path("key.pkcs11.module", p.Module)
	r.secret("key.pkcs11", "pin", p.PINEnv, p.PINFile)
	r.keyName("key.pkcs11.key_label", p.KeyLabel)
	if used {
		r.given("key.pkcs11.module", p.Module, provider)
		r.given("key.pkcs11.key_label", p.KeyLabel, provider)
		r.that("key.pkcs11.pin_env", p.PINEnv+p.PINFile != "", "missing; provider pkcs11 needs it, or pin_file")
	}
}

// cloudKMS checks the cloudkms section, which must be whole where it is used.
func (r *rules) cloudKMS(k CloudKMS, used bool) {
	for _, part := range []struct{ key, value string }{
		{"key.cloudkms.project", k.Project}, {"key.cloudkms.location", k.Location},
		{"key.cloudkms.keyring", k.KeyRing}, {"key.cloudkms.key", k.Key},
	} {
		if used {
			r.given(part.key, part.value, "provider cloudkms")
		}
		r.that(part.key, part.value == "" || resourceForm.MatchString(part.value),
			`must be a resource's short name: letters, digits, "_", ".", ":" and "-", 63 at most`)
	}
	r.that("key.cloudkms.version", k.Version == "" || versionForm.MatchString(k.Version),
		`must be latest, or a version's number in quotes`)
}

// given requires a value.
func (r *rules) given(key, value, by string) {
	r.that(key, value != "", "missing; "+by+" needs it")
}

// keyName requires a name that can go into a kid, if any.
func (r *rules) keyName(key, name string) {
	r.that(key, name == "" || capsign.CheckKeyName(name) == nil,
		fmt.Sprintf("must be at most %d bytes of printable text", capsign.MaxKeyName))
}

// secret requires at most one of two places of a secret.
func (r *rules) secret(section, name, variable, file string) {
	r.that(section+"."+name+"_env", variable == "" || variableForm.MatchString(variable),
		"must be the name of an environment variable, not the secret itself")
	r.path(section+"."+name+"_file", file)
	r.that(section+"."+name+"_file", variable == "" || file == "", "excludes "+name+"_env; keep one")
}
