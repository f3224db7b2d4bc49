package azure

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/capsign/cap/internal/kmstest/fault"
)

// sign signs a digest.
func (s *Server) sign(w http.ResponseWriter, r *http.Request, broken fault.Fault) {
	s.wait(r.Context(), time.Duration(s.serviceTime.Load()))
	v := s.version(w, r)
	if v == nil {
		return
	}
	var asked struct {
		Alg   string `json:"alg"`
		Value string `json:"value"`
	}
	err := json.NewDecoder(r.Body).Decode(&asked)
	digest, notB64 := b64.DecodeString(asked.Value)
	if err != nil || notB64 != nil || len(digest) == 0 || len(digest) != digestSize(v, asked.Alg) {
		s.breakWith(w, fault.Fault{Code: fault.InvalidArgument})
		return
	}
	if observe := s.observe.Load(); observe != nil && *observe != nil {
		(*observe)(digest)
	}
	if inner, message := s.unusable(v); inner != "" {
		s.refuse(w, http.StatusForbidden, "Forbidden", inner, message)
		return
	}
	private := v.private
	if broken.Kind == fault.WrongKey {
		private, _ = anotherLike(private) // it never fails
	}
	signature, _ := rawSignature(private, asked.Alg, digest) // it never fails
	answer(w, http.StatusOK, map[string]any{"kid": s.answerID(v, broken), "value": b64.EncodeToString(s.spoil(signature, broken))})
}

// spoil returns what the vault says the signature is.
func (s *Server) spoil(signature []byte, broken fault.Fault) []byte {
	if broken.Kind == fault.CorruptSignature {
		signature[len(signature)-1] ^= 1
	}
	if mangle := s.mangle.Load(); mangle != nil && *mangle != nil {
		return (*mangle)(signature)
	}
	return signature
}

// digestSize returns how long the digest must be for a key that signs with alg,
// or zero for one that does not.
func digestSize(v *version, alg string) int {
	if _, ok := v.private.(*rsa.PrivateKey); ok {
		return map[string]int{"PS256": 32, "RS256": 32}[alg]
	}
	sizes := map[string]map[string]int{"P-256": {"ES256": 32}, "P-384": {"ES384": 48}}
	return sizes[v.private.(*ecdsa.PrivateKey).Params().Name][alg]
}

// unusable returns why a version does not sign now, in the words of the vault;
// empty means that it does.
func (s *Server) unusable(v *version) (inner, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.opts.Clock()
	switch {
	case !v.enabled:
		return "KeyDisabled", "Operation sign is not allowed on a disabled key."
	case !v.until.IsZero() && !now.Before(v.until):
		return "KeyExpired", "Operation sign is not allowed on an expired key."
	case now.Before(v.notBefore):
		return "KeyNotYetValid", "Operation sign is not allowed on a key that is not yet valid."
	case !slices.Contains(v.ops, "sign"):
		return "KeyOperationForbidden", "Operation sign is not permitted on this key."
	}
	return "", ""
}
