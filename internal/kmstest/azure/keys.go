package azure

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"fmt"
	"math/big"
	"time"

	"github.com/capsign/cap/capsign"
)

// version is one key version. Its fields are guarded by the server's mutex; the
// private key never changes.
type version struct {
	name, id         string
	private          crypto.Signer // *ecdsa.PrivateKey or *rsa.PrivateKey
	kty              string        // EC or RSA, with -HSM behind it
	ops              []string
	enabled          bool
	exportable       bool
	created          time.Time // in whole seconds
	notBefore, until time.Time // zero is none
}

// Attributes are those of a key version that can be changed.
type Attributes struct {
	// Disabled is whether the version is not enabled.
	Disabled bool
	// NotBefore and Expires bound when the version signs; zero does not.
	NotBefore, Expires time.Time
	// Ops are its key operations; nil is sign and verify.
	Ops []string
	// Exportable is whether its private key can be exported.
	Exportable bool
}

// AddKey adds a version to the key, which is made where it is missing, and
// returns the version's id. A nil private key is made for alg: ES256, ES384,
// PS256 or RS256.
func (s *Server) AddKey(name string, alg capsign.Alg, private crypto.Signer) (string, error) {
	if private == nil {
		var err error
		if private, err = newPrivateKey(alg); err != nil {
			return "", err
		}
	}
	kty := "EC"
	if _, ok := private.(*rsa.PrivateKey); ok {
		kty = "RSA"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(name, kty, private).id, nil
}

// AddVersion adds a version of the type of the key's newest and returns its id.
func (s *Server) AddVersion(name string) (string, error) {
	v, err := s.rotate(name)
	if err != nil {
		return "", err
	}
	return v.id, nil
}

// rotate adds a version like the newest.
func (s *Server) rotate(name string) (*version, error) {
	newest := s.find(name, "")
	if newest == nil {
		return nil, fmt.Errorf("azure: no such key")
	}
	private, err := anotherLike(newest.private)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(name, newest.kty, private), nil
}

// add appends a version. The caller holds the mutex.
func (s *Server) add(name, kty string, private crypto.Signer) *version {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // it never fails
	v := &version{
		name: name, id: hex.EncodeToString(id), private: private, kty: kty,
		ops: []string{"sign", "verify"}, enabled: true, created: s.opts.Clock().Truncate(time.Second),
	}
	s.keys[name] = append(s.keys[name], v)
	return v
}

// Disable makes a version refuse to sign.
func (s *Server) Disable(name, id string) { s.SetAttributes(name, id, Attributes{Disabled: true}) }

// Enable makes a version sign again, at any time.
func (s *Server) Enable(name, id string) { s.SetAttributes(name, id, Attributes{}) }

// SetAttributes replaces the attributes of a version; an empty id is the newest.
// A version that does not exist is left alone.
func (s *Server) SetAttributes(name, id string, to Attributes) {
	v := s.find(name, id)
	if v == nil {
		return
	}
	if to.Ops == nil {
		to.Ops = []string{"sign", "verify"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v.enabled, v.notBefore, v.until, v.ops, v.exportable = !to.Disabled, to.NotBefore, to.Expires, to.Ops, to.Exportable
}

// SetHardware makes a version one that an HSM protects.
func (s *Server) SetHardware(name, id string) {
	if v := s.find(name, id); v != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		v.kty += "-HSM"
	}
}

// Delete removes a key with all its versions.
func (s *Server) Delete(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, name)
}

// Versions returns the ids of the key's versions, oldest first.
func (s *Server) Versions(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, len(s.keys[name]))
	for i, v := range s.keys[name] {
		ids[i] = v.id
	}
	return ids
}

// find returns a version; an empty id is the newest. Nil is none.
func (s *Server) find(name, id string) *version {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.keys[name]) - 1; i >= 0; i-- {
		if v := s.keys[name][i]; id == "" || v.id == id {
			return v
		}
	}
	return nil
}

// newPrivateKey makes a private key for alg.
func newPrivateKey(alg capsign.Alg) (crypto.Signer, error) {
	switch alg {
	case capsign.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case capsign.ES384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case capsign.PS256, capsign.RS256:
		return rsa.GenerateKey(rand.Reader, 3072)
	}
	return nil, fmt.Errorf("azure: no keys for %s", alg)
}

// anotherLike makes a key of the same type and size.
func anotherLike(key crypto.Signer) (crypto.Signer, error) {
	switch like := key.(type) {
	case *ecdsa.PrivateKey:
		return ecdsa.GenerateKey(like.Curve, rand.Reader)
	case *rsa.PrivateKey:
		return rsa.GenerateKey(rand.Reader, like.N.BitLen())
	}
	return nil, fmt.Errorf("azure: no keys of type %T", key)
}

// rawSignature signs a digest in the form of JSON Web Algorithms (RFC 7518).
func rawSignature(private crypto.Signer, alg string, digest []byte) ([]byte, error) {
	switch key := private.(type) {
	case *ecdsa.PrivateKey:
		return rawECDSA(key, digest)
	case *rsa.PrivateKey:
		if alg == "PS256" {
			return rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest, &rsa.PSSOptions{SaltLength: 32})
		}
		return rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest)
	}
	return nil, fmt.Errorf("azure: no signatures by %T", private)
}

// rawECDSA returns r and s side by side, each as wide as the curve's order.
func rawECDSA(key *ecdsa.PrivateKey, digest []byte) ([]byte, error) {
	r, s, err := ecdsa.Sign(rand.Reader, key, digest)
	if err != nil {
		return nil, err
	}
	width := (key.Params().N.BitLen() + 7) / 8
	raw := make([]byte, 2*width)
	for i, number := range []*big.Int{r, s} {
		number.FillBytes(raw[i*width : (i+1)*width])
	}
	return raw, nil
}
