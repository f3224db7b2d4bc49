//go:build interop && cgo

package interop

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/pkcs11/p11test"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	emptyConfig  = `{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}`
)

func TestCosignVerifiesASoftwareP256Key(t *testing.T) {
	verifyAll(newRig(t, softwareKey("ES256")))
}

func TestCosignVerifiesASoftwareEd25519Key(t *testing.T) {
	verifyAll(newRig(t, softwareKey("Ed25519")))
}

func TestCosignVerifiesASoftHSMKey(t *testing.T) {
	for _, alg := range []capsign.Alg{capsign.ES256, capsign.Ed25519} {
		t.Run(string(alg), func(t *testing.T) {
			tok := p11test.SoftHSM(t)
			tok.Generate(t, alg, "cap-signing", "01")
			verifyAll(newRig(t, tokenKey(tok), append(tok.Env(), pinVariable+"="+tok.PIN)...))
		})
	}
}

// verifyAll has cosign verify files and artifacts that the rig's key signs, and
// refuse what was changed.
func verifyAll(r *rig) {
	r.t.Helper()
	r.run("cap", "keys", "export", "--format", "pem", "--out", "key.pem")
	r.verifyFile("small.bin", bytes.Repeat([]byte("s"), 1000))
	r.verifyFile("large.bin", bytes.Repeat([]byte("l"), capsign.MaxMessageSize+1))
	for kind, host := range r.registry {
		r.verifyArtifact(host+"/team/app", kind)
	}
}

// verifyFile has cosign verify the bundle of a file.
func (r *rig) verifyFile(name string, content []byte) {
	r.t.Helper()
	sig := name + ".sigstore.json"
	r.write(name, content)
	r.run("cap", "sign", "--format", "bundle", name)
	r.run("cap", "verify-bundle", name)
	r.run("cosign", "verify-blob", "--key", "key.pem", "--bundle", sig, "--insecure-ignore-tlog", name)
	if len(content) > capsign.MaxMessageSize {
		r.run("cosign", "verify-blob-attestation", "--key", "key.pem", "--bundle", sig, "--insecure-ignore-tlog",
			"--type", "https://sigstore.dev/cosign/sign/v1", name)
	}
	r.write("changed.bin", append(content, '!'))
	r.refuses(0, "cosign", "verify-blob", "--key", "key.pem", "--bundle", sig, "--insecure-ignore-tlog", "changed.bin")
}

// verifyArtifact has cosign verify an artifact, and an image index, and refuse
// what is put in their place.
func (r *rig) verifyArtifact(name, kind string) {
	r.t.Helper()
	image := `{"schemaVersion":2,"mediaType":"` + manifestType + `","config":` + emptyConfig + `,"layers":[],"annotations":{"content":"one"}}`
	sum := r.put(name, "v1", manifestType, image)
	ref := name + ":v1"
	r.run("cap", "registry", "sign", ref)
	r.run("cap", "registry", "verify", ref)
	for _, one := range []string{ref, name + "@" + sum} {
		out := r.run("cosign", "verify", "--key", "key.pem", "--insecure-ignore-tlog", "--allow-http-registry", one)
		if !strings.Contains(out, sum) {
			r.t.Errorf("%s: cosign verified something else: %s", kind, out)
		}
	}
	if out := r.run("cosign", "tree", "--allow-http-registry", ref); !strings.Contains(out, "cosign/sign/v1") {
		r.t.Errorf("%s: cosign tree: %s", kind, out)
	}

	// Another artifact under the tag: without a signature, then with the first one's.
	changed := r.put(name, "v1", manifestType, strings.Replace(image, "one", "two", 1))
	r.refuses(4, "cap", "registry", "verify", ref)
	r.refuses(0, "cosign", "verify", "--key", "key.pem", "--insecure-ignore-tlog", "--allow-http-registry", ref)
	if kind == "fallback tag" {
		listing := r.get(name, strings.Replace(sum, ":", "-", 1))
		r.put(name, strings.Replace(changed, ":", "-", 1), "application/vnd.oci.image.index.v1+json", listing)
		r.refuses(1, "cap", "registry", "verify", ref)
		r.refuses(0, "cosign", "verify", "--key", "key.pem", "--insecure-ignore-tlog", "--allow-http-registry", ref)
	}
}

// TestCosignFindsWhatCapHasSignedTwice: signing again leaves one signature.
func TestCosignFindsWhatCapHasSignedTwice(t *testing.T) {
	r := newRig(t, softwareKey("ES256"))
	r.run("cap", "keys", "export", "--format", "pem", "--out", "key.pem")
	name := r.registry["referrers API"] + "/app"
	image := `{"schemaVersion":2,"mediaType":"` + manifestType + `","config":` + emptyConfig + `,"layers":[]}`
	r.put(name, "v1", manifestType, image)
	r.run("cap", "registry", "sign", name+":v1")
	if out := r.run("cap", "registry", "sign", name+":v1", "--json"); !strings.Contains(out, `"present":true`) {
		t.Errorf("signed again: %s", out)
	}
	r.run("cosign", "verify", "--key", "key.pem", "--insecure-ignore-tlog", "--allow-http-registry", name+":v1")
}

// put pushes a manifest and returns its digest.
func (r *rig) put(name, tag, mediaType, manifest string) string {
	r.t.Helper()
	req := r.request(http.MethodPut, name, tag, strings.NewReader(manifest))
	req.Header.Set("Content-Type", mediaType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		r.t.Fatalf("push %s:%s: %s", name, tag, resp.Status)
	}
	return digest.FromString(manifest).String()
}

// get returns a manifest.
func (r *rig) get(name, tag string) string {
	r.t.Helper()
	resp, err := http.DefaultClient.Do(r.request(http.MethodGet, name, tag, nil))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("get %s:%s: %s, %v", name, tag, resp.Status, err)
	}
	return string(data)
}

// request returns a request for a manifest.
func (r *rig) request(method, name, tag string, body io.Reader) *http.Request {
	r.t.Helper()
	host, path, _ := strings.Cut(name, "/")
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+host+"/v2/"+path+"/manifests/"+tag, body)
	if err != nil {
		r.t.Fatal(err)
	}
	return req
}
