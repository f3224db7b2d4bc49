package registry_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/registry"
)

// dialTo leads every connection to one address.
type dialTo struct{ address string }

func (d *dialTo) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, d.address)
}

func TestWhatIsNotSignedIsUnknown(t *testing.T) {
	for kind, referrers := range kinds {
		rig, client := newRig(t, referrers), newClient(t, registry.Config{})
		_, key := newQueue(t, capsign.Ed25519)
		ref, sum := rig.image("app", "v1", "one")
		digest, findings, err := client.Verify(t.Context(), ref, by(key))
		wantCode(t, kind, err, capsign.ArtifactUnknown)
		if digest != sum.String() || len(findings) != 0 {
			t.Errorf("%s: %s, %+v", kind, digest, findings)
		}
	}
}

func TestATagThatWasMovedIsRefused(t *testing.T) {
	rig, client := newRig(t, true), newClient(t, registry.Config{})
	signer, key := newQueue(t, capsign.Ed25519)
	ref, _ := rig.image("app", "v1", "one")
	signed := sign(t, client, ref, signer)
	_, tampered := rig.image("app", "v1", "tampered with")
	_, _, err := client.Verify(t.Context(), ref, by(key))
	wantCode(t, "moved", err, capsign.ArtifactUnknown)
	rig.attach(tampered, rig.bundle(signed.Referrer), nil)
	_, findings, err := client.Verify(t.Context(), ref, by(key))
	wantCode(t, "another artifact's bundle", err, capsign.SignatureInvalid)
	if len(findings) != 1 || findings[0].Err == nil {
		t.Errorf("%+v", findings)
	}
}

func TestTheKeyringDecidesWhatCounts(t *testing.T) {
	rig, client := newRig(t, true), newClient(t, registry.Config{})
	old, oldKey := newQueue(t, capsign.Ed25519)
	fresh, freshKey := newQueue(t, capsign.ES256)
	ref, sum := rig.image("app", "v1", "one")
	first := sign(t, client, ref, old)
	ring := func(kid string, msg, sig []byte) error {
		if kid == oldKey.KID {
			return capsign.KeyRetired
		}
		return by(freshKey)(kid, msg, sig)
	}
	_, _, err := client.Verify(t.Context(), ref, ring)
	wantCode(t, "retired", err, capsign.KeyRetired)
	// Garbage that anyone can attach does not hide why.
	rig.attach(sum, []byte("garbage"), nil)
	rig.attach(sum, bytes.ReplaceAll(rig.bundle(first.Referrer), []byte(oldKey.KID), []byte(freshKey.KID)), nil)
	_, findings, err := client.Verify(t.Context(), ref, ring)
	wantCode(t, "retired among garbage", err, capsign.KeyRetired)
	if len(findings) != 3 {
		t.Errorf("%+v", findings)
	}
	_, _, err = client.Verify(t.Context(), ref, by(freshKey))
	wantCode(t, "stranger", err, capsign.KIDUnknown)

	sign(t, client, ref, fresh)
	_, findings, err = client.Verify(t.Context(), ref, ring)
	counting := 0
	for _, finding := range findings {
		if finding.Err == nil {
			counting++
		}
	}
	if err != nil || len(findings) != 4 || counting != 1 {
		t.Errorf("%+v, %v", findings, err)
	}
}

func TestWhatIsAttachedWronglyDoesNotCount(t *testing.T) {
	signer, key := newQueue(t, capsign.Ed25519)
	source, client := newRig(t, true), newClient(t, registry.Config{})
	ref, sum := source.image("app", "v1", "one")
	good := source.bundle(sign(t, client, ref, signer).Referrer)
	_, payload, _ := strings.Cut(string(good), `"payload":"`)
	payload, _, _ = strings.Cut(payload, `"`)
	for name, tc := range map[string]struct {
		data []byte
		edit func(*ocispec.Manifest)
		want capsign.Code // of the finding
	}{
		"good":           {good, nil, ""},
		"no type":        {good, func(m *ocispec.Manifest) { m.ArtifactType = "" }, ""},
		"payload":        {bytes.Replace(good, []byte(payload), []byte(base64.StdEncoding.EncodeToString([]byte("{}"))), 1), nil, capsign.UnsupportedScheme},
		"hint":           {bytes.Replace(good, []byte(key.KID), []byte(strings.Repeat("0", 64)), 1), nil, capsign.KIDUnknown},
		"layer type":     {good, func(m *ocispec.Manifest) { m.Layers[0].MediaType = "text/plain" }, capsign.UnsupportedScheme},
		"two layers":     {good, func(m *ocispec.Manifest) { m.Layers = append(m.Layers, m.Layers[0]) }, capsign.UnsupportedScheme},
		"layer size":     {good, func(m *ocispec.Manifest) { m.Layers[0].Size++ }, capsign.RegistryUnavailable},
		"huge layer":     {good, func(m *ocispec.Manifest) { m.Layers[0].Size = 1 << 40 }, capsign.TooLarge},
		"missing layer":  {good, func(m *ocispec.Manifest) { m.Layers[0].Digest = digest.FromString("nobody has it") }, capsign.ArtifactUnknown},
		"not a bundle":   {[]byte("garbage"), nil, capsign.BadRequest},
		"empty manifest": {good, func(m *ocispec.Manifest) { m.Layers = nil }, capsign.UnsupportedScheme},
	} {
		rig := newRig(t, true)
		rig.image("app", "v1", "one")
		rig.attach(sum, tc.data, tc.edit)
		_, findings, err := client.Verify(t.Context(), rig.host+"/app:v1", by(key))
		if tc.want == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || len(findings) != 1 {
			t.Errorf("%s: %+v, %v", name, findings, err)
			continue
		}
		wantCode(t, name, findings[0].Err, tc.want)
	}
}

// TestAListingThatLies: the entries of a fallback tag are anyone's who may push.
func TestAListingThatLies(t *testing.T) {
	rig, client := newRig(t, false), newClient(t, registry.Config{})
	signer, key := newQueue(t, capsign.Ed25519)
	_, other := rig.image("app", "v0", "other")
	foreign := sign(t, client, rig.host+"/app@"+other.String(), signer)
	ref, sum := rig.image("app", "v1", "one")
	listing := rig.get("/v2/app/manifests/" + strings.Replace(other.String(), ":", "-", 1))
	rig.put("/v2/app/manifests/"+strings.Replace(sum.String(), ":", "-", 1), ocispec.MediaTypeImageIndex, listing)
	_, findings, err := client.Verify(t.Context(), ref, by(key))
	wantCode(t, "another artifact's listing", err, capsign.SignatureInvalid)
	if len(findings) != 1 || findings[0].Referrer != foreign.Referrer {
		t.Errorf("%+v", findings)
	}
}

func TestBlobsThatWereChangedAreAnAlarm(t *testing.T) {
	rig, client := newRig(t, true), newClient(t, registry.Config{})
	signer, key := newQueue(t, capsign.Ed25519)
	ref, _ := rig.image("app", "v1", "one")
	good := rig.bundle(sign(t, client, ref, signer).Referrer)
	rig.answer(func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodGet || !strings.Contains(req.URL.Path, "/blobs/") {
			return false
		}
		_, _ = w.Write(bytes.Replace(good, []byte(`"sig":"`), []byte(`"siG":"`), 1))
		return true
	})
	_, _, err := client.Verify(t.Context(), ref, by(key))
	wantCode(t, "changed blob", err, capsign.Integrity)
}

func TestWhoAttachesTooMuchKeepsNobodyBusy(t *testing.T) {
	rig, client := newRig(t, true), newClient(t, registry.Config{})
	ref, _ := rig.image("app", "v1", "one")
	one := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("x"), Size: 1}
	for name, flood := range map[string]struct {
		entries int
		link    string
	}{"entries": {1001, ""}, "pages": {0, `</v2/app/referrers/again>; rel="next"`}} {
		text, err := json.Marshal(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: slices.Repeat([]ocispec.Descriptor{one}, flood.entries)})
		if err != nil {
			t.Fatal(err)
		}
		rig.answer(func(w http.ResponseWriter, req *http.Request) bool {
			if !strings.Contains(req.URL.Path, "/referrers/") {
				return false
			}
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			if flood.link != "" {
				w.Header().Set("Link", flood.link)
			}
			_, _ = w.Write(text)
			return true
		})
		_, _, err = client.Verify(t.Context(), ref, nil)
		wantCode(t, name, err, capsign.TooLarge)
	}
}
