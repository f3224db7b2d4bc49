package aws

import (
	"encoding/json"

	"github.com/capsign/cap/internal/kmstest/fault"
)

// keyRequest is a request that names a key.
type keyRequest struct {
	KeyId string //nolint:revive // the service's own spelling
}

// metadata is what the service says of a key.
type metadata struct {
	AWSAccountId string //nolint:revive // the service's own spelling
	Arn          string
	KeyId        string //nolint:revive // the service's own spelling
	Enabled      bool
	KeySpec      string
	KeyState     string
	KeyUsage     string
	Origin       string
}

// decode reads a request's body.
func decode(body []byte, into any) error {
	if json.Unmarshal(body, into) != nil {
		return failure("SerializationException", string(body))
	}
	return nil
}

// metadataOf describes a key.
func (s *Server) metadataOf(k *key) metadata {
	return metadata{s.options.Account, s.arn("key/" + k.id), k.id, k.state == stateEnabled, k.spec, k.state, k.usage, "AWS_KMS"}
}

// getPublicKey returns a public key, in the name of its ARN however it was
// asked for.
func (s *Server) getPublicKey(body []byte, broken fault.Kind) (any, error) {
	var in keyRequest
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.ready(in.KeyId)
	if err != nil {
		return nil, err
	}
	private := k.private
	if broken == fault.WrongKey {
		if private, err = newPrivateKey(k.spec); err != nil {
			return nil, err
		}
	}
	spki, err := publicKey(private)
	if err != nil {
		return nil, err
	}
	return struct {
		KeyId                 string //nolint:revive // the service's own spelling
		PublicKey             []byte
		KeySpec, KeyUsage     string
		CustomerMasterKeySpec string
		SigningAlgorithms     []string
	}{s.answerAs(k, broken), spki, k.spec, k.usage, k.spec, algorithmsOf(k.spec)}, nil
}

// answerAs returns the ARN that an answer goes by.
func (s *Server) answerAs(k *key, broken fault.Kind) string {
	if broken == fault.CorruptKeyID {
		return s.arn("key/" + newID())
	}
	return s.arn("key/" + k.id)
}

// describeKey describes a key in any state.
func (s *Server) describeKey(body []byte, _ fault.Kind) (any, error) {
	var in keyRequest
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.find(in.KeyId)
	if err != nil {
		return nil, err
	}
	return struct{ KeyMetadata metadata }{s.metadataOf(k)}, nil
}

// createKey makes a key, which calls to come do not find for a while.
func (s *Server) createKey(body []byte, _ fault.Kind) (any, error) {
	var in struct {
		KeySpec, KeyUsage string
		Tags              []tag
	}
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	if in.KeyUsage != "SIGN_VERIFY" {
		return nil, failure("ValidationException", "Value '"+in.KeyUsage+"' at 'keyUsage' failed to satisfy constraint")
	}
	private, err := newPrivateKey(in.KeySpec)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.insert(in.KeySpec, private)
	k.tags, k.lag = in.Tags, s.options.Lag
	return struct{ KeyMetadata metadata }{s.metadataOf(k)}, nil
}

// aliasRequest is a request that makes or moves an alias.
type aliasRequest struct {
	AliasName, TargetKeyId string //nolint:revive // the service's own spelling
}

// createAlias makes an alias.
func (s *Server) createAlias(body []byte, _ fault.Kind) (any, error) {
	return s.pointAlias(body, s.takeAlias)
}

// updateAlias moves an alias.
func (s *Server) updateAlias(body []byte, _ fault.Kind) (any, error) {
	return s.pointAlias(body, func(alias string) error {
		if _, ok := s.aliases[alias]; !ok {
			return failure("NotFoundException", "Alias "+s.arn(alias)+" is not found.")
		}
		return nil
	})
}

// pointAlias makes an alias that passes the check lead to a key.
func (s *Server) pointAlias(body []byte, check func(alias string) error) (any, error) {
	var in aliasRequest
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := check(in.AliasName); err != nil {
		return nil, err
	}
	k, err := s.find(in.TargetKeyId)
	if err != nil {
		return nil, err
	}
	s.aliases[in.AliasName] = k.id
	return struct{}{}, nil
}

// listAliases lists all aliases, on one page.
func (s *Server) listAliases([]byte, fault.Kind) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type entry struct {
		AliasName, AliasArn, TargetKeyId string //nolint:revive // the service's own spelling
	}
	var entries []entry
	for _, name := range s.sortedAliases() {
		entries = append(entries, entry{name, s.arn(name), s.aliases[name]})
	}
	return struct {
		Aliases   []entry
		Truncated bool
	}{entries, false}, nil
}

// listResourceTags lists a key's tags, on one page.
func (s *Server) listResourceTags(body []byte, _ fault.Kind) (any, error) {
	var in keyRequest
	if err := decode(body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.find(in.KeyId)
	if err != nil {
		return nil, err
	}
	return struct {
		Tags      []tag
		Truncated bool
	}{k.tags, false}, nil
}

// setState returns the operation that puts a key into a state.
func (s *Server) setState(state string) func([]byte, fault.Kind) (any, error) {
	return func(body []byte, _ fault.Kind) (any, error) {
		var in keyRequest
		if err := decode(body, &in); err != nil {
			return nil, err
		}
		if err := s.change(in.KeyId, state); err != nil {
			return nil, err
		}
		return struct{}{}, nil
	}
}
