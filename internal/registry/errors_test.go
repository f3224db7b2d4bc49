package registry_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/registry"
)

func TestReferencesAreSpelledOut(t *testing.T) {
	client := newClient(t, registry.Config{})
	for _, ref := range []string{"", "app", "app:v1", "localhost:5000/app", "host.example/app@sha256:12", "host.example/App:v1",
		"https://host.example/app:v1", "host.example/app@sha512:" + strings.Repeat("a", 128)} {
		_, err := client.Sign(t.Context(), ref, nil)
		wantCode(t, ref, err, capsign.BadRequest)
		_, _, err = client.Verify(t.Context(), ref, nil)
		wantCode(t, ref, err, capsign.BadRequest)
	}
}

func TestWhatARegistrySaysIsMappedToACodeAndNotRepeated(t *testing.T) {
	rig := newRig(t, true)
	signer, _ := newQueue(t, capsign.Ed25519)
	ref, _ := rig.image("app", "v1", "one")
	for _, tc := range []struct {
		status int
		header string
		want   capsign.Code
	}{
		{http.StatusUnauthorized, `Basic realm="secret-realm"`, capsign.Denied},
		{http.StatusUnauthorized, "", capsign.Denied},
		{http.StatusForbidden, "", capsign.Denied},
		{http.StatusNotFound, "", capsign.ArtifactUnknown},
		{http.StatusBadRequest, "", capsign.RegistryUnavailable},
		{http.StatusMethodNotAllowed, "", capsign.RegistryUnavailable},
		{http.StatusTeapot, "", capsign.RegistryUnavailable},
	} {
		for _, part := range []string{"/manifests/v1", "/referrers/", "/blobs/"} {
			rig.answer(func(w http.ResponseWriter, req *http.Request) bool {
				if !strings.Contains(req.URL.Path, part) {
					return false
				}
				if tc.header != "" {
					w.Header().Set("Www-Authenticate", tc.header)
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tc.status)
				fmt.Fprint(w, `{"errors":[{"code":"SECRET_CODE","message":"secret words","detail":"secret detail"}]}`)
				return true
			})
			result, err := newClient(t, registry.Config{}).Sign(t.Context(), ref, signer)
			if part == "/referrers/" && tc.status == http.StatusNotFound {
				continue // that is how a registry says that it has no such API
			}
			want := tc.want
			if part == "/blobs/" && tc.status == http.StatusNotFound {
				want = capsign.ArtifactUnknown
			}
			wantCode(t, fmt.Sprint(part, " ", tc.status), err, want)
			if err != nil && (strings.Contains(strings.ToLower(err.Error()), "secret") || strings.Contains(err.Error(), rig.host)) {
				t.Errorf("%v", err)
			}
			if result.KID != "" || result.Referrer != "" {
				t.Errorf("%s %d: %+v", part, tc.status, result)
			}
		}
	}
}

func TestARegistryThatIsNotThereOrSaysNothing(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	signer, _ := newQueue(t, capsign.Ed25519)
	_, err := newClient(t, registry.Config{}).Sign(t.Context(), strings.TrimPrefix(gone.URL, "http://")+"/app:v1", signer)
	wantCode(t, "gone", err, capsign.RegistryUnavailable)

	rig := newRig(t, true)
	ref, _ := rig.image("app", "v1", "one")
	rig.answer(func(_ http.ResponseWriter, req *http.Request) bool { <-req.Context().Done(); return true })
	_, err = newClient(t, registry.Config{Timeout: 50 * time.Millisecond}).Sign(t.Context(), ref, signer)
	wantCode(t, "mute", err, capsign.RegistryUnavailable)
}

func TestAnotherManifestThanTheDigestsIsAnAlarm(t *testing.T) {
	rig := newRig(t, true)
	signer, key := newQueue(t, capsign.Ed25519)
	_, sum := rig.image("app", "v1", "one")
	pinned := rig.host + "/app@" + sum.String()
	sign(t, newClient(t, registry.Config{}), pinned, signer)
	other, claim := []byte(`{"schemaVersion":2}`), sum
	rig.answer(func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.HasSuffix(req.URL.Path, "/manifests/"+sum.String()) {
			return false
		}
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Header().Set("Docker-Content-Digest", claim.String())
		_, _ = w.Write(other)
		return true
	})
	_, _, err := newClient(t, registry.Config{}).Verify(t.Context(), pinned, by(key))
	wantCode(t, "verify", err, capsign.Integrity)
	_, err = newClient(t, registry.Config{}).Sign(t.Context(), pinned, signer)
	wantCode(t, "sign", err, capsign.Integrity)
	claim = digest.FromBytes(other)
	_, err = newClient(t, registry.Config{}).Sign(t.Context(), pinned, signer)
	wantCode(t, "openly another", err, capsign.RegistryUnavailable)
	claim = ""
	_, err = newClient(t, registry.Config{}).Sign(t.Context(), pinned, signer)
	wantCode(t, "without a claim", err, capsign.RegistryUnavailable)
}

func TestCredentialsAreDockers(t *testing.T) {
	rig := newRig(t, true)
	signer, _ := newQueue(t, capsign.Ed25519)
	ref, _ := rig.image("app", "v1", "one")
	rig.answer(func(w http.ResponseWriter, req *http.Request) bool {
		user, password, _ := req.BasicAuth()
		if user == "robot" && password == "hunter2" {
			return false
		}
		w.Header().Set("Www-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	file := filepath.Join(t.TempDir(), "config.json")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"auths":{"` + rig.host + `":{"auth":"cm9ib3Q6aHVudGVyMg=="}}}`)
	sign(t, newClient(t, registry.Config{DockerConfig: file}), ref, signer)

	write(`{"auths":{"` + rig.host + `":{"auth":"cm9ib3Q6d3Jvbmc="}}}`)
	_, err := newClient(t, registry.Config{DockerConfig: file}).Sign(t.Context(), ref, signer)
	wantCode(t, "wrong password", err, capsign.Denied)

	helper := filepath.Join(t.TempDir(), "docker-credential-captest")
	script := "#!/bin/sh\necho '{\"Username\":\"robot\",\"Secret\":\"hunter2\"}'\n"
	if err := os.WriteFile(helper, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(helper)+string(os.PathListSeparator)+os.Getenv("PATH"))
	write(`{"credHelpers":{"` + rig.host + `":"captest"}}`)
	ref, _ = imageAs(rig, "v2")
	sign(t, newClient(t, registry.Config{DockerConfig: file}), ref, signer)

	write(`{"auths":`)
	_, err = registry.New(registry.Config{DockerConfig: file})
	wantCode(t, "half a file", err, capsign.ConfigInvalid)
}

// imageAs pushes an image to a registry that wants a password.
func imageAs(r *rig, tag string) (string, string) {
	r.mu.Lock()
	guard := r.intercept
	r.mu.Unlock()
	r.answer(nil)
	ref, sum := r.image("app", tag, tag)
	r.answer(guard)
	return ref, sum.String()
}

// dialed is a transport that remembers which URLs it was asked for.
type dialed struct{ urls []string }

func (d *dialed) RoundTrip(req *http.Request) (*http.Response, error) {
	d.urls = append(d.urls, req.URL.String())
	if strings.HasPrefix(req.URL.String(), "https://registry.example/") {
		return &http.Response{
			StatusCode: http.StatusTemporaryRedirect, Body: http.NoBody, Request: req,
			Header: http.Header{"Location": {"http://registry.example/elsewhere"}},
		}, nil
	}
	return nil, errors.New("unexpected")
}

func TestNothingGoesOverTheNetworkInTheClear(t *testing.T) {
	transport := new(dialed)
	_, err := newClient(t, registry.Config{Transport: transport}).Sign(t.Context(), "registry.example/app:v1", nil)
	wantCode(t, "redirect", err, capsign.TLSUntrusted)
	if len(transport.urls) != 1 || transport.urls[0] != "https://registry.example/v2/app/manifests/v1" {
		t.Errorf("asked for %v", transport.urls)
	}
}

func TestACertificateOfNobodysIsRefused(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	server.Config.ErrorLog = nil
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&dialTo{server.Listener.Addr().String()}).dial
	_, err := newClient(t, registry.Config{Transport: transport}).Sign(t.Context(), "registry.example/app:v1", nil)
	wantCode(t, "unknown authority", err, capsign.TLSUntrusted)
	if err != nil && strings.Contains(err.Error(), "x509") {
		t.Error(err)
	}
}
