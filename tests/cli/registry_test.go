package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/capsign/cap/capsign"
)

// TestRegistryScripts runs testdata/registry/*.txtar. NATS_URL leads them to a
// pool with an Ed25519 key, NATS_P256 to one with a P-256 key; REGISTRY has the
// referrers API, REGISTRY_OLD has not, REGISTRY_CLOSED wants a password and
// REGISTRY_DEAD is not there.
func TestRegistryScripts(t *testing.T) {
	ed, p256 := startBroker(t), startBroker(t)
	startWorker(t, ed, "default", newKeys(t, "cap-signing", capsign.Ed25519, 1))
	startWorker(t, p256, "default", newKeys(t, "cap-signing", capsign.ES256, 1))
	env := []string{
		"NATS_URL=" + ed.URL(), "NATS_P256=" + p256.URL(), "NATS_DEAD=" + deadAddress(t),
		"REGISTRY=" + startRegistry(t, true, ""), "REGISTRY_OLD=" + startRegistry(t, false, ""),
		"REGISTRY_CLOSED=" + startRegistry(t, true, "hunter2"), "REGISTRY_DEAD=" + strings.TrimPrefix(deadAddress(t), "nats://"),
		"GORACE=atexit_sleep_ms=0",
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/registry",
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, env...)
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, "config"))
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			e.Setenv("DOCKER_CONFIG", filepath.Join(e.WorkDir, "docker"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "members": members, "save": save, "site": site(t), "push": push, "many": many,
		},
		RequireUniqueNames: true,
	})
}

// startRegistry starts a registry and returns its host and port.
func startRegistry(t *testing.T, referrers bool, password string) string {
	t.Helper()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, given, _ := req.BasicAuth(); password != "" && given != password {
			w.Header().Set("Www-Authenticate", `Basic realm="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// push REF CONTENT pushes an artifact and sets DIGEST to its digest.
func push(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: push REF CONTENT")
	}
	sum, err := putArtifact(context.Background(), args[0], args[1])
	ts.Check(err)
	ts.Setenv("DIGEST", sum)
}

// many HOST N FILE pushes N artifacts and writes their references into a file.
func many(ts *testscript.TestScript, neg bool, args []string) {
	var n int
	if _, err := fmt.Sscan(args[1], &n); neg || len(args) != 3 || err != nil {
		ts.Fatalf("usage: many HOST N FILE")
	}
	var refs []string
	for i := range n {
		ref := fmt.Sprintf("%s/many/app%d:v1", args[0], i)
		_, err := putArtifact(context.Background(), ref, ref)
		ts.Check(err)
		refs = append(refs, ref)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(strings.Join(refs, "\n")+"\n"), 0o600))
}

// putArtifact pushes an artifact of some content and returns its digest.
func putArtifact(ctx context.Context, ref, content string) (string, error) {
	host, rest, _ := strings.Cut(ref, "/")
	name, tag, _ := strings.Cut(rest, ":")
	const empty = `{"mediaType":"application/vnd.oci.empty.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}`
	text, err := json.Marshal(content)
	if err != nil {
		return "", err
	}
	manifest := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[],"annotations":{"content":%s}}`, empty, text)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+host+"/v2/"+name+"/manifests/"+tag, bytes.NewReader(manifest))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	req.SetBasicAuth("robot", "hunter2")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("push %s: %s", ref, resp.Status)
	}
	return digest.FromBytes(manifest).String(), nil
}
