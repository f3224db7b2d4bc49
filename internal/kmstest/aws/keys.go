package aws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The specs of keys that the server makes and signs with.
const (
	Ed25519 = "ECC_NIST_EDWARDS25519"
	P256    = "ECC_NIST_P256"
	P384    = "ECC_NIST_P384"
	P521    = "ECC_NIST_P521"
	RSA2048 = "RSA_2048"
	RSA3072 = "RSA_3072"
)

// The states of a key.
const (
	stateEnabled         = "Enabled"
	stateDisabled        = "Disabled"
	statePendingDeletion = "PendingDeletion"
)

// key is one key.
type key struct {
	id      string
	spec    string
	usage   string
	private crypto.Signer
	state   string
	tags    []tag
	lag     int // calls that will not find it yet
}

// tag is one tag of a key's.
type tag struct {
	TagKey, TagValue string
}

// AddKey adds a key of the spec, under the alias if that is not empty, and
// returns its ARN. A nil private key means a new one.
func (s *Server) AddKey(alias, spec string, private crypto.Signer) (arn string, err error) {
	if private == nil {
		if private, err = newPrivateKey(spec); err != nil {
			return "", err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if alias != "" {
		if err := s.takeAlias(alias); err != nil {
			return "", err
		}
	}
	k := s.insert(spec, private)
	if alias != "" {
		s.aliases[alias] = k.id
	}
	return s.arn("key/" + k.id), nil
}

// Point makes an alias, new or not, lead to the key of an ARN.
func (s *Server) Point(alias, arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aliases[alias] = arn[strings.LastIndex(arn, "/")+1:]
}

// Remove forgets an alias.
func (s *Server) Remove(alias string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.aliases, alias)
}

// Disable takes a key, by its ARN, out of service.
func (s *Server) Disable(arn string) error { return s.change(arn, stateDisabled) }

// Enable ends Disable and ScheduleDeletion.
func (s *Server) Enable(arn string) error { return s.change(arn, stateEnabled) }

// ScheduleDeletion makes a key, by its ARN, wait for its deletion.
func (s *Server) ScheduleDeletion(arn string) error { return s.change(arn, statePendingDeletion) }

// Use changes what a key, by its ARN, is for, such as KEY_AGREEMENT.
func (s *Server) Use(arn, usage string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.find(arn)
	if err == nil {
		k.usage = usage
	}
	return err
}

// change puts a key into another state.
func (s *Server) change(keyID, state string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.find(keyID)
	if err == nil {
		k.state = state
	}
	return err
}

// insert adds a key under a new id. The caller holds mu.
func (s *Server) insert(spec string, private crypto.Signer) *key {
	k := &key{id: newID(), spec: spec, usage: "SIGN_VERIFY", private: private, state: stateEnabled}
	s.keys[k.id] = k
	return k
}

// newID returns a UUID.
func newID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// arn returns the ARN of a resource of the account's.
func (s *Server) arn(resource string) string {
	return "arn:aws:kms:" + s.options.Region + ":" + s.options.Account + ":" + resource
}

// find returns the key that a request names by its id, its ARN, an alias or an
// alias's ARN. The caller holds mu.
func (s *Server) find(keyID string) (*key, error) {
	resource := strings.TrimPrefix(keyID, s.arn(""))
	switch {
	case keyID == "":
		return nil, failure("ValidationException", "Value null at 'keyId' failed to satisfy constraint: Member must not be null")
	case strings.HasPrefix(resource, "arn:"):
		return nil, failure("NotFoundException", "Invalid arn "+keyID)
	case strings.HasPrefix(resource, "alias/"):
		id, ok := s.aliases[resource]
		if !ok {
			return nil, failure("NotFoundException", "Alias "+s.arn(resource)+" is not found.")
		}
		resource = id
	default:
		if resource != keyID && !strings.HasPrefix(resource, "key/") {
			return nil, failure("InvalidArnException", "Invalid arn "+keyID)
		}
		resource = strings.TrimPrefix(resource, "key/")
	}
	k, ok := s.keys[resource]
	if ok && k.lag > 0 {
		k.lag--
		ok = false
	}
	if !ok {
		return nil, failure("NotFoundException", "Key '"+s.arn("key/"+resource)+"' does not exist")
	}
	return k, nil
}

// ready returns the key that a request names if its state lets it be used. The
// caller holds mu.
func (s *Server) ready(keyID string) (*key, error) {
	k, err := s.find(keyID)
	if err != nil {
		return nil, err
	}
	switch k.state {
	case stateDisabled:
		return nil, failure("DisabledException", s.arn("key/"+k.id)+" is disabled.")
	case statePendingDeletion:
		return nil, failure("KMSInvalidStateException", s.arn("key/"+k.id)+" is pending deletion.")
	}
	return k, nil
}

// takeAlias checks an alias that is to be made. The caller holds mu.
func (s *Server) takeAlias(alias string) error {
	if !strings.HasPrefix(alias, "alias/") || strings.HasPrefix(alias, "alias/aws/") {
		return failure("InvalidAliasNameException", alias)
	}
	if _, taken := s.aliases[alias]; taken {
		return failure("AlreadyExistsException", "An alias with the name "+s.arn(alias)+" already exists")
	}
	return nil
}

// newPrivateKey makes a private key of the spec.
func newPrivateKey(spec string) (crypto.Signer, error) {
	switch spec {
	case Ed25519:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case P521:
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	}
	return nil, failure("ValidationException", "Value '"+spec+"' at 'keySpec' failed to satisfy constraint")
}

// publicKey returns the DER SubjectPublicKeyInfo of a private key.
func publicKey(private crypto.Signer) ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return nil, errors.New("aws: public key")
	}
	return spki, nil
}

// sortedAliases returns the names of all aliases. The caller holds mu.
func (s *Server) sortedAliases() []string {
	names := make([]string, 0, len(s.aliases))
	for name := range s.aliases {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
