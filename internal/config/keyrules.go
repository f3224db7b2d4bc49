package config

import (
	"fmt"
	"regexp"
	"time"

	"github.com/capsign/cap/capsign"
)

// variableForm is the form of an environment variable's name.
var variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// deviceAlgs are the algorithms of tokens and clouds; a vendor may have fewer.
var deviceAlgs = []capsign.Alg{capsign.Ed25519, capsign.ES256, capsign.ES384, capsign.PS256, capsign.RS256}

// key checks the key section.
func (r *rules) key(k Key) {
	r.keyName("key.name", k.Name)
	r.oneOf("key.provider", k.Provider, capsign.ProviderSoftware, capsign.ProviderPKCS11, capsign.ProviderCloudKMS)
	between(r, "key.sign_timeout", k.SignTimeout, 100*time.Millisecond, time.Minute, "100ms", "1m")
	r.that("key.fallback", k.Fallback == "" || k.Fallback == capsign.ProviderSoftware, "must be software, or left out")
	r.that("key.fallback", k.Fallback == "" || k.Provider != capsign.ProviderSoftware,
		"goes with providers pkcs11 and cloudkms only")
	r.software(k.Software)
	r.pkcs11(k.PKCS11, k.Provider == capsign.ProviderPKCS11)
	r.cloudKMS(k.CloudKMS, k.Provider == capsign.ProviderCloudKMS)
	if k.Provider == capsign.ProviderCloudKMS && k.Name == "" {
		r.cloudName(k.CloudKMS)
	}
}

// software checks the software section.
func (r *rules) software(s Software) {
	r.path("key.software.dir", s.Dir)
	r.alg("key.software.alg", s.Alg, capsign.Ed25519, capsign.ES256)
	r.secret("key.software", "passphrase", s.PassphraseEnv, s.PassphraseFile)
}

// alg requires one of a few algorithms.
func (r *rules) alg(key string, alg capsign.Alg, allowed ...capsign.Alg) {
	names := make([]string, len(allowed))
	for i, name := range allowed {
		names[i] = string(name)
	}
	r.oneOf(key, string(alg), names...)
}

// given requires a value.
func (r *rules) given(key, value, by string) {
	r.that(key, value != "", "missing; "+by+" needs it")
}

// keyName requires a name that can go into a kid, if any.
func (r *rules) keyName(key, name string) { r.text(key, name, capsign.MaxKeyName) }

// text requires printable text of at most so many bytes, if any.
func (r *rules) text(key, text string, most int) {
	r.that(key, text == "" || len(text) <= most && capsign.CheckKeyName(text) == nil,
		fmt.Sprintf("must be at most %d bytes of printable text", most))
}

// secret requires at most one of two places of a secret.
func (r *rules) secret(section, name, variable, file string) {
	r.that(section+"."+name+"_env", variable == "" || variableForm.MatchString(variable),
		"must be the name of an environment variable, not the secret itself")
	r.path(section+"."+name+"_file", file)
	r.that(section+"."+name+"_file", variable == "" || file == "", "excludes "+name+"_env; keep one")
}
