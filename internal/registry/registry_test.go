package registry_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

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
	manifest := rig.manifest(sign(t, client, ref, signer).Referrer)
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
		uploads := rig.count("POST") + rig.count("PUT")
		again := sign(t, newClient(t, registry.Config{}), ref, signer)
		if n := rig.count("POST") + rig.count("PUT") - uploads; n != 0 {
			t.Errorf("%s: %d uploads", kind, n)
		}
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
		if n := rig.count("DELETE"); n != 0 {
			t.Errorf("%s: %d deletions, which publishers may not be allowed", kind, n)
		}
	}
}

func TestAnAnnotationAloneDoesNotCountAsSigned(t *testing.T) {
	rig, client := newRig(t, true), newClient(t, registry.Config{})
	signer, key := newQueue(t, capsign.Ed25519)
	_, other := rig.image("app", "v0", "other")
	ref, sum := rig.image("app", "v1", "one")
	stranger, _ := newQueue(t, capsign.Ed25519)
	foreign := rig.bundle(sign(t, client, rig.host+"/app@"+other.String(), signer).Referrer)
	strange := rig.bundle(sign(t, client, ref, stranger).Referrer)
	ours := func(manifest *ocispec.Manifest) {
		manifest.Annotations = map[string]string{registry.AnnotationKID: key.KID}
	}
	rig.attach(sum, []byte("garbage"), ours)
	rig.attach(sum, foreign, ours)
	rig.attach(sum, strange, ours)
	if result := sign(t, client, ref, signer); result.Present {
		t.Errorf("%+v", result)
	}
	if _, _, err := client.Verify(t.Context(), ref, by(key)); err != nil {
		t.Error(err)
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

// broken is a signer that does not sign.
type broken struct{ bundle.Signer }

func (broken) Sign(context.Context, []byte) (capsign.Signature, error) {
	return capsign.Signature{}, capsign.KeyRetired
}

func TestWithoutASignatureNothingIsUploaded(t *testing.T) {
	rig, client := newRig(t, true), newClient(t, registry.Config{})
	signer, key := newQueue(t, capsign.Ed25519)
	ref, sum := rig.image("app", "v1", "one")
	uploads := rig.count("POST") + rig.count("PUT")
	result, err := client.Sign(t.Context(), ref, broken{signer})
	wantCode(t, "retired", err, capsign.KeyRetired)
	if n := rig.count("POST") + rig.count("PUT") - uploads; n != 0 || result != (registry.Result{Ref: ref, Digest: sum.String()}) {
		t.Errorf("%d uploads, %+v", n, result)
	}
	_, _, err = client.Verify(t.Context(), ref, by(key))
	wantCode(t, "verify", err, capsign.ArtifactUnknown)
}
