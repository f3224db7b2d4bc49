package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/capsign/cap/capsign"
)

// TestProtocolWithNothingButTheNATSCommand runs the script of docs/protocol.md
// as it stands there, against a worker as it starts without a configuration.
func TestProtocolWithNothingButTheNATSCommand(t *testing.T) {
	command := os.Getenv("CAP_NATS_CLI")
	if command == "" {
		t.Skip("CAP_NATS_CLI does not name the nats command; make test builds it")
	}
	site := newSite(t)
	site.startEmbedded()
	script := exec.Command("bash", "-euo", "pipefail", "-c", documented(t, "../docs/protocol.md"))
	script.Dir = t.TempDir()
	path := filepath.Dir(command) + string(filepath.ListSeparator) + os.Getenv("PATH")
	script.Env = append(os.Environ(), "PATH="+path, "NATS_URL="+site.url(), "HOME="+script.Dir)
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	body, err := os.ReadFile(filepath.Join(script.Dir, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := capsign.DecodeResult([]byte(strings.TrimSpace(string(body))))
	if err != nil {
		t.Fatalf("%v\n%s", err, body)
	}
	ring, err := capsign.FetchKeySet(t.Context(), site.connect())
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Verify(res.KID, []byte("hello"), res.Outcomes[0].Signature); err != nil {
		t.Error(err)
	}
}

// documented returns the script that a document marks with "script: nats".
func documented(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "<!-- script: nats -->\n```sh\n")
	script, _, ended := strings.Cut(after, "```")
	if !found || !ended {
		t.Fatalf("%s has no marked script", path)
	}
	return script
}
