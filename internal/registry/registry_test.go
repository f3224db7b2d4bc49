package registry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/bundle"
	"github.com/capsign/cap/internal/registry"
)

// kinds are the two kinds of registries.
var kinds = map[string]bool{"referrers API": true, "fallback tag": false}

func TestSignAndVerifyByTagAndDigest(t *testing.T) {
	for kind, referrers := range kinds {
		for _, alg := range []capsign.Alg{capsign.Ed25519, capsign.ES256} {
			t.Run(kind+"/"+string(alg), func(t *testing.T) {
				rig, client := newRig(t, referrers), newClient(t, registry.Config{})
				signer, key := newQueue(t, alg)
				ref, sum := rig.image("team/app", "v1", "one")
				result := sign(t, client, ref, signer)
				if result.Ref != ref || result.Digest != sum.String() || result.KID != key.KID || result.Present {
					t.Errorf("result %+v", result)
				}
				for _, name := range []string{ref, rig.host + "/team/app@" + sum.String()} {
					digest, findings, err := newClient(t, registry.Config{}).Verify(t.Context(), name, by(key))
					if err != nil || digest != sum.String() || len(findings) != 1 || findings[0].KID != key.KID || findings[0].Referrer != result.Referrer {
						t.Errorf("%s: %s, %+v, %v", name, digest, findings, err)
					}
				}
				listed := rig.get("/v2/team/app/manifests/" + strings.Replace(sum.String(), ":", "-", 1))
				if (listed == nil) != referrers {
					t.Errorf("fallback tag: %s", listed)
				}
			})
		}
	}
}

func TestAReferrerHasTheShapeOfCosigns(t *testing.T) {
	rig, client := newRig(t, true), newClient(t, registry.Config{})
	signer, key := newQueue(t, capsign.Ed25519)
	ref, sum := rig.image("app", "v1", "one")
	manifest := rig.manifest("app", sign(t, client, ref, signer).Referrer)
	if manifest.MediaType != ocispec.MediaTypeImageManifest || manifest.ArtifactType != bundle.MediaType || manifest.Subject.Digest != sum ||
		manifest.Config.MediaType != ocispec.MediaTypeEmptyJSON || len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != bundle.MediaType {
		t.Errorf("manifest %+v", manifest)
	}
	want := map[string]string{
		"dev.sigstore.bundle.content":       "dsse-envelope",
		"dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1",
		"io.github.capsign.kid":             key.KID,
	}
	if fmt.Sprint(manifest.Annotations) != fmt.Sprint(want) {
		t.Errorf("annotations %v", manifest.Annotations)
	}
}

func TestSigningAgainAddsNothing(t *testing.T) {
	for kind, referrers := range kinds {
		rig := newRig(t, referrers)
		signer, key := newQueue(t, capsign.ES256)
		ref, _ := rig.image("app", "v1", "one")
		first := sign(t, newClient(t, registry.Config{}), ref, signer)
		again := sign(t, newClient(t, registry.Config{}), ref, signer)
		if !again.Present || again.Referrer != first.Referrer || again.KID != key.KID {
			t.Errorf("%s: %+v after %+v", kind, again, first)
		}
		other, second := newQueue(t, capsign.Ed25519)
		if result := sign(t, newClient(t, registry.Config{}), ref, other); result.Present || result.KID != second.KID {
			t.Errorf("%s: another key: %+v", kind, result)
		}
		_, findings, err := newClient(t, registry.Config{}).Verify(t.Context(), ref, by(key, second))
		if err != nil || len(findings) != 2 {
			t.Errorf("%s: %+v, %v", kind, findings, err)
		}
	}
}

func TestAnAnnotationAloneDoesNotCountAsSigned(t *testing.T) {
	rig, client := newRig(t, true), newClient(t, registry.Config{})
	signer, key := newQueue(t, capsign.Ed25519)
	_, other := rig.image("app", "v0", "other")
	ref, sum := rig.image("app", "v1", "one")
	stranger, _ := newQueue(t, capsign.Ed25519)
	foreign := rig.bundle("app", sign(t, client, rig.host+"/app@"+other.String(), signer).Referrer)
	strange := rig.bundle("app", sign(t, client, ref, stranger).Referrer)
	ours := func(manifest *ocispec.Manifest) {
		manifest.Annotations = map[string]string{registry.AnnotationKID: key.KID}
	}
	rig.attach("app", sum, []byte("garbage"), ours)
	rig.attach("app", sum, foreign, ours)
	rig.attach("app", sum, strange, ours)
	if result := sign(t, client, ref, signer); result.Present {
		t.Errorf("%+v", result)
	}
	if _, _, err := client.Verify(t.Context(), ref, by(key)); err != nil {
		t.Error(err)
	}
}

func TestTwoTagsOfOneArtifactAreSignedOnce(t *testing.T) {
	for kind, referrers := range kinds {
		rig, client := newRig(t, referrers), newClient(t, registry.Config{})
		signer, key := newQueue(t, capsign.ES256)
		var refs []string
		for i := range 16 {
			ref, _ := rig.image("app", fmt.Sprint("v", i), "the same")
			refs = append(refs, ref)
		}
		made := 0
		for result, err := range client.SignMany(t.Context(), slices.Values(refs), signer) {
			if err != nil {
				t.Fatal(err)
			}
			if !result.Present {
				made++
			}
		}
		_, findings, err := client.Verify(t.Context(), refs[0], by(key))
		if err != nil || made != 1 || len(findings) != 1 {
			t.Errorf("%s: made %d, found %d: %v", kind, made, len(findings), err)
		}
	}
}

func TestAListingThatSomebodyOverwritesIsWrittenAgain(t *testing.T) {
	rig, client := newRig(t, false), newClient(t, registry.Config{})
	signer, key := newQueue(t, capsign.Ed25519)
	ref, _ := rig.image("app", "v1", "one")
	lost := 0
	lose := func(upTo int) {
		rig.answer(func(w http.ResponseWriter, req *http.Request) bool {
			if req.Method != http.MethodPut || !strings.Contains(req.URL.Path, "/manifests/sha256-") || lost >= upTo {
				return false
			}
			lost++
			w.WriteHeader(http.StatusCreated)
			return true
		})
	}
	lose(2)
	sign(t, client, ref, signer)
	if _, _, err := client.Verify(t.Context(), ref, by(key)); err != nil || lost != 2 {
		t.Errorf("after %d lost: %v", lost, err)
	}
	unlucky, _ := rig.image("app", "v2", "two")
	lose(100)
	result, err := client.Sign(t.Context(), unlucky, signer)
	wantCode(t, "always lost", err, capsign.RegistryUnavailable)
	if result.KID != "" || result.Referrer != "" {
		t.Errorf("%+v", result)
	}
}

func TestTwoHundredArtifactsEachHaveAnOutcome(t *testing.T) {
	rig, client := newRig(t, true), newClient(t, registry.Config{})
	signer, key := newQueue(t, capsign.Ed25519)
	var refs []string
	for i := range 200 {
		ref, _ := rig.image("app", fmt.Sprint("v", i), fmt.Sprint("content ", i))
		if i%50 == 7 {
			ref += "-missing"
		}
		refs = append(refs, ref)
	}
	i := 0
	for result, err := range client.SignMany(t.Context(), slices.Values(refs), signer) {
		if result.Ref != refs[i] {
			t.Fatalf("outcome %d is of %s", i, result.Ref)
		}
		if i%50 == 7 {
			wantCode(t, result.Ref, err, capsign.ArtifactUnknown)
		} else if err != nil || result.KID != key.KID {
			t.Errorf("%s: %+v, %v", result.Ref, result, err)
		}
		i++
	}
	if i != len(refs) {
		t.Errorf("%d outcomes", i)
	}
	for _, ref := range []string{refs[0], refs[111], refs[199]} {
		if _, _, err := client.Verify(t.Context(), ref, by(key)); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

func TestAtMostSoManyArtifactsAreWorkedOnAtOnce(t *testing.T) {
	rig, client := newRig(t, true), newClient(t, registry.Config{Jobs: 3})
	signer, _ := newQueue(t, capsign.Ed25519)
	var mu sync.Mutex
	open, most := 0, 0
	rig.answer(func(_ http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodGet || !strings.Contains(req.URL.Path, "/manifests/v") {
			return false
		}
		mu.Lock()
		open++
		most = max(most, open)
		mu.Unlock()
		time.Sleep(5 * time.Millisecond) // long enough for the others to come
		mu.Lock()
		open--
		mu.Unlock()
		return false
	})
	var refs []string
	for i := range 12 {
		ref, _ := rig.image("app", fmt.Sprint("v", i), fmt.Sprint(i))
		refs = append(refs, ref)
	}
	for _, err := range client.SignMany(t.Context(), slices.Values(refs), signer) {
		if err != nil {
			t.Error(err)
		}
	}
	if most != 3 {
		t.Errorf("%d at once", most)
	}
}

func TestLeavingEarlyEndsTheRun(t *testing.T) {
	rig, client := newRig(t, true), newClient(t, registry.Config{Jobs: 2})
	signer, _ := newQueue(t, capsign.Ed25519)
	ref, _ := rig.image("app", "v1", "one")
	drawn := 0
	endless := func(yield func(string) bool) {
		for yield(ref) {
			drawn++
		}
	}
	for range client.SignMany(t.Context(), endless, signer) {
		break
	}
	if drawn > 8 { // the iteration's goroutine has ended: no race
		t.Errorf("%d drawn", drawn)
	}
}

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
	other, _ := json.Marshal(map[string]int{"schemaVersion": 2})
	rig.answer(func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.HasSuffix(req.URL.Path, "/manifests/"+sum.String()) {
			return false
		}
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		w.Header().Set("Docker-Content-Digest", sum.String())
		_, _ = w.Write(other)
		return true
	})
	_, _, err := newClient(t, registry.Config{}).Verify(t.Context(), pinned, by(key))
	wantCode(t, "verify", err, capsign.Integrity)
	_, err = newClient(t, registry.Config{}).Sign(t.Context(), pinned, signer)
	wantCode(t, "sign", err, capsign.Integrity)
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
	if bytes.Contains([]byte(fmt.Sprint(err)), []byte("x509")) {
		t.Error(err)
	}
}
