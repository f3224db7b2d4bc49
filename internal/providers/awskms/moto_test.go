package awskms

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/porttest"
)

// TestKeysAtMoto uses a service that others wrote: moto, where it is installed.
// Of the algorithms here it has P-256 alone, and two things are not as AWS has
// them, both of which the provider would refuse: GetPublicKey answers with a bare
// key id instead of an ARN, which a proxy completes on the way, and a digest is
// hashed again, so that what verifies is a signature of the digest. The suite,
// therefore, cannot run there.
func TestKeysAtMoto(t *testing.T) {
	moto := startMoto(t)
	withoutCredentials(t)
	cfg := Config{Region: "eu-central-1", Key: testAlias, KeyName: testKeyName, Endpoint: completeKeyIDs(t, moto), CallTimeout: 20 * time.Second}
	kids := []string{generate(t, cfg), generate(t, cfg)}
	provider := open(t, cfg)
	if listed, err := provider.ListKIDs(t.Context()); err != nil || !slices.Equal(listed, kids) {
		t.Errorf("kids %v, %v; want %v", listed, err, kids)
	}
	for n := range 100 {
		msg := []byte{byte(n)}
		digest := sha256.Sum256(msg)
		sig, err := provider.Sign(t.Context(), kids[n%2], msg)
		must(t, err)
		key, err := provider.PublicKey(t.Context(), sig.KID)
		must(t, err)
		must(t, key.Verify(digest[:], sig.Bytes))
	}

	strict := cfg
	strict.Endpoint = moto
	_, err := Open(t.Context(), strict)
	mustWrap(t, "Open at moto itself", err, capsign.Integrity)
	unknown := cfg
	unknown.Key = "alias/nobody"
	_, err = Open(t.Context(), unknown)
	mustWrap(t, "Open of an alias that is not there", err, capsign.KeyUnknown)
	ed25519 := cfg
	ed25519.Alg = capsign.Ed25519
	_, err = Generate(t.Context(), ed25519)
	mustWrap(t, "Generate of what moto does not have", err, capsign.UnsupportedAlg)
}

// startMoto starts a moto server that the test stops, and returns its URL.
func startMoto(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("moto_server is not installed")
	}
	port := strconv.Itoa(porttest.Free(t))
	command := exec.CommandContext(t.Context(), program, "-H", "127.0.0.1", "-p", port)
	must(t, command.Start())
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	address := net.JoinHostPort("127.0.0.1", port)
	for deadline := time.Now().Add(30 * time.Second); ; {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
			return "http://" + address
		}
		if time.Now().After(deadline) {
			t.Fatalf("moto_server does not answer: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// completeKeyIDs starts a proxy to moto in whose answers key ids are ARNs.
func completeKeyIDs(t *testing.T, moto string) string {
	t.Helper()
	target, err := url.Parse(moto)
	must(t, err)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		ModifyResponse: func(r *http.Response) error {
			if r.StatusCode != http.StatusOK || !strings.HasSuffix(r.Request.Header.Get("X-Amz-Target"), ".GetPublicKey") {
				return nil
			}
			var answer map[string]any
			if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
				return err
			}
			answer["KeyId"] = "arn:aws:kms:eu-central-1:123456789012:key/" + answer["KeyId"].(string)
			body, err := json.Marshal(answer)
			r.Body = io.NopCloser(bytes.NewReader(body))
			r.ContentLength = int64(len(body))
			r.Header.Set("Content-Length", strconv.Itoa(len(body)))
			return err
		},
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.URL
}
