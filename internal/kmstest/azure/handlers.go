package azure

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/capsign/cap/internal/kmstest/fault"
)

// pageSize is how many versions one answer lists.
const pageSize = 25

// b64 is the encoding of bytes in the vault's JSON.
var b64 = base64.RawURLEncoding

// handler routes requests to the vault and to Entra.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, method := range map[string]struct {
		name   string
		handle func(http.ResponseWriter, *http.Request, fault.Fault)
	}{
		"GET /keys/{name}/{$}":             {"GetKey", s.getKey},
		"GET /keys/{name}/{version}":       {"GetKey", s.getKey},
		"GET /keys/{name}/versions":        {"ListVersions", s.listVersions},
		"POST /keys/{name}/create":         {"CreateKey", s.createKey},
		"POST /keys/{name}/rotate":         {"RotateKey", s.rotateKey},
		"POST /keys/{name}/{version}/sign": {"Sign", s.sign},
	} {
		mux.HandleFunc(pattern, s.vault(method.name, method.handle))
	}
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.entra("Discovery", s.discovery))
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.entra("Token", s.token))
	return mux
}

// entra takes the faults of one method of the token endpoint.
func (s *Server) entra(method string, handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		broken, _ := s.Faults.Take(method)
		if !s.broken(w, r, broken) {
			handle(w, r)
		}
	}
}

// vault takes the faults of one of the vault's methods, and challenges.
func (s *Server) vault(method string, handle func(http.ResponseWriter, *http.Request, fault.Fault)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		authorized := s.authorized(r)
		if !authorized {
			method := "Challenge"
			broken, _ := s.Faults.Take(method)
			if !s.broken(w, r, broken) {
				s.challenge(w)
			}
			return
		}
		broken, _ := s.Faults.Take(method)
		switch {
		case s.broken(w, r, broken):
		case r.URL.Query().Get("api-version") == "":
			s.refuse(w, http.StatusBadRequest, "BadParameter", "", "api-version must be specified")
		default:
			handle(w, r, broken)
		}
	}
}

// version returns the version that the request names, or answers that there is
// none.
func (s *Server) version(w http.ResponseWriter, r *http.Request) *version {
	v := s.find(r.PathValue("name"), r.PathValue("version"))
	if v == nil {
		s.breakWith(w, fault.Fault{Code: fault.NotFound})
	}
	return v
}

// getKey answers with a version and its public key, whatever its attributes.
func (s *Server) getKey(w http.ResponseWriter, r *http.Request, broken fault.Fault) {
	if v := s.version(w, r); v != nil {
		s.answerBundle(w, v, broken)
	}
}

// answerBundle answers with a version and its public key.
func (s *Server) answerBundle(w http.ResponseWriter, v *version, broken fault.Fault) {
	s.mu.Lock()
	private := v.private
	if broken.Kind == fault.WrongKey {
		private, _ = anotherLike(private) // it never fails
	}
	key := publicJWK(private)
	key["kid"], key["kty"], key["key_ops"] = s.answerID(v, broken), v.kty, v.ops
	body := map[string]any{"key": key, "attributes": attributes(v)}
	s.mu.Unlock()
	answer(w, http.StatusOK, body)
}

// answerID returns the id of a version, or another one's.
func (s *Server) answerID(v *version, broken fault.Fault) string {
	if broken.Kind == fault.CorruptKeyID {
		return s.id(v.name, strings.Repeat("0", 32))
	}
	return s.id(v.name, v.id)
}

// publicJWK returns what is public of a key, as a JSON Web Key (RFC 7517).
func publicJWK(private crypto.Signer) map[string]any {
	if key, ok := private.(*rsa.PrivateKey); ok {
		return map[string]any{"n": b64.EncodeToString(key.N.Bytes()), "e": b64.EncodeToString(big.NewInt(int64(key.E)).Bytes())}
	}
	key := private.(*ecdsa.PrivateKey)
	point, _ := key.PublicKey.Bytes() // 0x04 || x || y
	half := (len(point) - 1) / 2
	return map[string]any{
		"crv": key.Params().Name, "x": b64.EncodeToString(point[1 : 1+half]), "y": b64.EncodeToString(point[1+half:]),
	}
}

// attributes returns those of a version.
func attributes(v *version) map[string]any {
	out := map[string]any{
		"enabled": v.enabled, "created": v.created.Unix(), "updated": v.created.Unix(),
		"recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90, "exportable": v.exportable,
	}
	if !v.notBefore.IsZero() {
		out["nbf"] = v.notBefore.Unix()
	}
	if !v.until.IsZero() {
		out["exp"] = v.until.Unix()
	}
	return out
}

// listVersions answers with a page of versions, ordered by their ids. A key
// that does not exist has none.
func (s *Server) listVersions(w http.ResponseWriter, r *http.Request, _ fault.Fault) {
	skip, _ := strconv.Atoi(r.URL.Query().Get("$skiptoken"))
	name := r.PathValue("name")
	s.mu.Lock()
	all := slices.SortedFunc(slices.Values(s.keys[name]), func(a, b *version) int { return strings.Compare(a.id, b.id) })
	page := all[min(skip, len(all)):min(skip+pageSize, len(all))]
	items := make([]map[string]any, len(page))
	for i, v := range page {
		items[i] = map[string]any{"kid": s.id(name, v.id), "attributes": attributes(v)}
	}
	s.mu.Unlock()
	body := map[string]any{"value": items, "nextLink": nil}
	if skip+pageSize < len(all) {
		body["nextLink"] = s.VaultURL() + "/keys/" + name + "/versions?api-version=2025-07-01&$skiptoken=" + strconv.Itoa(skip+pageSize)
	}
	answer(w, http.StatusOK, body)
}

// createKey makes a version of the type that is asked for.
func (s *Server) createKey(w http.ResponseWriter, r *http.Request, broken fault.Fault) {
	var asked struct {
		Kty     string   `json:"kty"`
		Crv     string   `json:"crv"`
		KeySize int      `json:"key_size"`
		Ops     []string `json:"key_ops"`
	}
	if json.NewDecoder(r.Body).Decode(&asked) != nil {
		s.breakWith(w, fault.Fault{Code: fault.InvalidArgument})
		return
	}
	curves := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384()}
	var v *version
	switch curve := curves[asked.Crv]; {
	case strings.HasPrefix(asked.Kty, "EC") && curve != nil:
		key, _ := ecdsa.GenerateKey(curve, rand.Reader) // it never fails
		s.mu.Lock()
		v = s.add(r.PathValue("name"), asked.Kty, key)
		s.mu.Unlock()
	case strings.HasPrefix(asked.Kty, "RSA") && asked.KeySize >= 2048 && asked.KeySize <= 4096:
		key, _ := rsa.GenerateKey(rand.Reader, asked.KeySize) // it never fails
		s.mu.Lock()
		v = s.add(r.PathValue("name"), asked.Kty, key)
		s.mu.Unlock()
	default:
		s.breakWith(w, fault.Fault{Code: fault.InvalidArgument})
		return
	}
	s.mu.Lock()
	v.ops, v.exportable = asked.Ops, s.exportable.Load()
	s.mu.Unlock()
	s.answerBundle(w, v, broken)
}

// rotateKey makes a version like the newest.
func (s *Server) rotateKey(w http.ResponseWriter, r *http.Request, broken fault.Fault) {
	v, err := s.rotate(r.PathValue("name"))
	if err != nil {
		s.breakWith(w, fault.Fault{Code: fault.NotFound})
		return
	}
	s.answerBundle(w, v, broken)
}
