package gcp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Algorithm is an algorithm under Google's name of it.
type Algorithm = kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm

// The algorithms that the server signs with.
const (
	Ed25519   = kmspb.CryptoKeyVersion_EC_SIGN_ED25519
	P256      = kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256
	P384      = kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384
	PSS3072   = kmspb.CryptoKeyVersion_RSA_SIGN_PSS_3072_SHA256
	PKCS3072  = kmspb.CryptoKeyVersion_RSA_SIGN_PKCS1_3072_SHA256
	enabled   = kmspb.CryptoKeyVersion_ENABLED
	disabled  = kmspb.CryptoKeyVersion_DISABLED
	destroyed = kmspb.CryptoKeyVersion_DESTROYED
	pending   = kmspb.CryptoKeyVersion_PENDING_GENERATION
)

// parent is the resource that all crypto keys are in.
const parent = "projects/" + Project + "/locations/" + Location + "/keyRings/" + KeyRing

// keys holds the crypto keys. Its zero value is empty.
type keys struct {
	pending time.Duration // how long a created version is not there yet

	mu        sync.Mutex
	all       map[string]*cryptoKey // by resource name
	strangers map[Algorithm]crypto.Signer
}

// cryptoKey is a key and its versions; version n is versions[n-1].
type cryptoKey struct {
	alg      Algorithm
	versions []*version
}

// version is one key version.
type version struct {
	name    string
	alg     Algorithm
	private crypto.Signer
	state   kmspb.CryptoKeyVersion_CryptoKeyVersionState
	made    time.Time
	ready   time.Time // when it leaves PENDING_GENERATION
}

// AddKey adds an enabled version to the key of this name in the one key ring,
// which it makes where it is not there, and returns the version's resource name.
// Nil makes a new private key.
func (s *Server) AddKey(name string, alg Algorithm, private crypto.Signer) (string, error) {
	if private == nil {
		var err error
		if private, err = newPrivateKey(alg); err != nil {
			return "", err
		}
	}
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	return s.keys.add(parent+"/cryptoKeys/"+name, alg, private, 0).name, nil
}

// AddEmptyKey adds a key without a version.
func (s *Server) AddEmptyKey(name string, alg Algorithm) {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	s.keys.key(parent+"/cryptoKeys/"+name, alg)
}

// DisableVersion disables the version with this resource name.
func (s *Server) DisableVersion(name string) { s.keys.setState(name, disabled) }

// EnableVersion enables the version with this resource name again.
func (s *Server) EnableVersion(name string) { s.keys.setState(name, enabled) }

// DestroyVersion destroys the version with this resource name. It stays listed.
func (s *Server) DestroyVersion(name string) { s.keys.setState(name, destroyed) }

// key returns the key of this resource name, made where it is not there.
func (k *keys) key(name string, alg Algorithm) *cryptoKey {
	if k.all == nil {
		k.all = make(map[string]*cryptoKey)
	}
	if k.all[name] == nil {
		k.all[name] = &cryptoKey{alg: alg}
	}
	return k.all[name]
}

// add adds a version, which is ready after a time.
func (k *keys) add(name string, alg Algorithm, private crypto.Signer, pending time.Duration) *version {
	key, now := k.key(name, alg), time.Now()
	v := &version{
		name:    name + "/cryptoKeyVersions/" + strconv.Itoa(len(key.versions)+1),
		alg:     alg,
		private: private,
		state:   enabled,
		made:    now,
		ready:   now.Add(pending),
	}
	key.versions = append(key.versions, v)
	return v
}

// create adds a version with a new private key to a key that is there.
func (k *keys) create(name string) (*kmspb.CryptoKeyVersion, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, ok := k.all[name]
	if !ok {
		return nil, notFound("CryptoKey", name)
	}
	private, err := newPrivateKey(key.alg)
	if err != nil {
		return nil, err
	}
	return k.add(name, key.alg, private, k.pending).proto(), nil
}

// list returns a key's versions, in the order in which they were made.
func (k *keys) list(name string) ([]*kmspb.CryptoKeyVersion, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, ok := k.all[name]
	if !ok {
		return nil, notFound("CryptoKey", name)
	}
	var versions []*kmspb.CryptoKeyVersion
	for _, v := range key.versions {
		versions = append(versions, v.proto())
	}
	return versions, nil
}

// get returns a copy of the version with this resource name.
func (k *keys) get(name string) (version, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	keyName, number, ok := strings.Cut(name, "/cryptoKeyVersions/")
	key := k.all[keyName]
	n, err := strconv.Atoi(number)
	if !ok || err != nil || key == nil || n < 1 || n > len(key.versions) {
		return version{}, notFound("CryptoKeyVersion", name)
	}
	return *key.versions[n-1], nil
}

// setState changes the state of a version, if it is there.
func (k *keys) setState(name string, state kmspb.CryptoKeyVersion_CryptoKeyVersionState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range k.all {
		if n := slices.IndexFunc(key.versions, func(v *version) bool { return v.name == name }); n >= 0 {
			key.versions[n].state = state
		}
	}
}

// stranger returns a private key that nobody asked for.
func (k *keys) stranger(alg Algorithm) (crypto.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if private, ok := k.strangers[alg]; ok {
		return private, nil
	}
	private, err := newPrivateKey(alg)
	if err != nil {
		return nil, err
	}
	if k.strangers == nil {
		k.strangers = make(map[Algorithm]crypto.Signer)
	}
	k.strangers[alg] = private
	return private, nil
}

// stateNow returns the version's state at this moment.
func (v version) stateNow() kmspb.CryptoKeyVersion_CryptoKeyVersionState {
	if v.state == enabled && time.Now().Before(v.ready) {
		return pending
	}
	return v.state
}

// proto returns the version as the API shows it.
func (v version) proto() *kmspb.CryptoKeyVersion {
	return &kmspb.CryptoKeyVersion{
		Name:            v.name,
		State:           v.stateNow(),
		ProtectionLevel: kmspb.ProtectionLevel_SOFTWARE,
		Algorithm:       v.alg,
		CreateTime:      timestamppb.New(v.made),
	}
}

// newPrivateKey makes a private key for the algorithm.
func newPrivateKey(alg Algorithm) (crypto.Signer, error) {
	switch alg {
	case Ed25519:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case PSS3072, PKCS3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	}
	return nil, fmt.Errorf("gcp: no private key for %v", alg)
}
