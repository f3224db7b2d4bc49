package registry_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	server "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/capsign/capsigntest"
	"github.com/capsign/cap/internal/bundle"
	"github.com/capsign/cap/internal/registry"
)

// rig is a registry on loopback whose answers a test can change.
type rig struct {
	t    *testing.T
	host string

	mu        sync.Mutex
	intercept func(http.ResponseWriter, *http.Request) (answered bool)
	requests  []string // method and path
}

// newRig starts a registry, with or without the referrers API.
func newRig(t *testing.T, referrers bool) *rig {
	t.Helper()
	r := &rig{t: t}
	inner := server.New(server.Logger(log.New(io.Discard, "", 0)), server.WithReferrersSupport(referrers))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		intercept := r.intercept
		r.requests = append(r.requests, req.Method+" "+req.URL.Path)
		r.mu.Unlock()
		if intercept == nil || !intercept(w, req) {
			inner.ServeHTTP(w, req)
		}
	}))
	t.Cleanup(s.Close)
	r.host = strings.TrimPrefix(s.URL, "http://")
	return r
}

// answer has every request go through f first, which says whether it has
// answered.
func (r *rig) answer(f func(http.ResponseWriter, *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.intercept = f
}

// count returns how many requests started with a prefix so far.
func (r *rig) count(prefix string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.requests {
		if strings.HasPrefix(one, prefix) {
			n++
		}
	}
	return n
}

// put uploads something as it is and returns its digest.
func (r *rig) put(path, mediaType string, data []byte) digest.Digest {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPut, "http://"+r.host+path, bytes.NewReader(data))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		r.t.Fatalf("PUT %s: %s", path, resp.Status)
	}
	return digest.FromBytes(data)
}

// image pushes an artifact of some content under a tag, and returns its
// reference and digest.
func (r *rig) image(name, tag, content string) (string, digest.Digest) {
	r.t.Helper()
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[],"annotations":{"content":%q}}`,
		ocispec.MediaTypeImageManifest, ocispec.MediaTypeEmptyJSON, content)
	sum := r.put("/v2/"+name+"/manifests/"+tag, ocispec.MediaTypeImageManifest, []byte(manifest))
	return r.host + "/" + name + ":" + tag, sum
}

// get returns a body, or nil where there is none.
func (r *rig) get(path string) []byte {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.host+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil
	}
	return data
}

// manifest returns a referrer's manifest, of app's.
func (r *rig) manifest(sum string) (manifest ocispec.Manifest) {
	r.t.Helper()
	if err := json.Unmarshal(r.get("/v2/app/manifests/"+sum), &manifest); err != nil {
		r.t.Fatal(err)
	}
	return manifest
}

// bundle returns the bundle that a referrer of app's holds.
func (r *rig) bundle(referrer string) []byte {
	r.t.Helper()
	return r.get("/v2/app/blobs/" + r.manifest(referrer).Layers[0].Digest.String())
}

// attach attaches a bundle to an artifact of app's as a stranger could.
func (r *rig) attach(subject digest.Digest, data []byte, edit func(*ocispec.Manifest)) {
	r.t.Helper()
	layer := digest.FromBytes(data)
	r.put("/v2/app/blobs/uploads/1?digest="+layer.String(), "application/octet-stream", data)
	manifest := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: bundle.MediaType,
		Config:  ocispec.DescriptorEmptyJSON,
		Layers:  []ocispec.Descriptor{{MediaType: bundle.MediaType, Digest: layer, Size: int64(len(data))}},
		Subject: &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: subject, Size: 1},
	}
	manifest.SchemaVersion = 2
	if edit != nil {
		edit(&manifest)
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		r.t.Fatal(err)
	}
	r.put("/v2/app/manifests/"+digest.FromBytes(text).String(), ocispec.MediaTypeImageManifest, text)
}

// newClient returns a client without anybody's credentials.
func newClient(t *testing.T, cfg registry.Config) *registry.Client {
	t.Helper()
	if cfg.DockerConfig == "" {
		cfg.DockerConfig = t.TempDir() + "/config.json"
	}
	client, err := registry.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// newQueue returns a signer over a pool of its own, and the pool's key.
func newQueue(t *testing.T, alg capsign.Alg) (*bundle.Queue, capsign.Key) {
	t.Helper()
	pool := capsigntest.Config{Alg: alg}.NewPool(t)
	return bundle.NewQueue(pool.Conn, pool.Client(t)), pool.Key
}

// by returns the check of a verifier who knows some keys.
func by(keys ...capsign.Key) bundle.Check { return capsign.NewKeySet(keys...).Verify }

// sign signs an artifact.
func sign(t *testing.T, client *registry.Client, ref string, signer bundle.Signer) registry.Result {
	t.Helper()
	result, err := client.Sign(t.Context(), ref, signer)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// wantCode holds an error to its code.
func wantCode(t *testing.T, what string, err error, want capsign.Code) {
	t.Helper()
	if err == nil || capsign.CodeOf(err) != want {
		t.Errorf("%s: %v, want %s", what, err, want)
	}
}
