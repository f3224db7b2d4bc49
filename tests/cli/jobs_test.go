package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

// TestAJobsListIsNotBelieved changes what lies on the broker between leaving a
// job and getting it: another file is put in the place of the one that was
// signed, and a name that would move a terminal's cursor.
func TestAJobsListIsNotBelieved(t *testing.T) {
	server := startBroker(t)
	startWorker(t, server, "default", newKeys(t, "cap-signing", capsign.Ed25519, 1))
	nc := connect(t, server)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("genuine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, forged := range map[string]struct {
		document string
		change   func(string) string
	}{
		"path":   {"0", func(part string) string { return strings.Replace(part, file, `evil\u001b[2J`, 1) }},
		"digest": {"0", swapDigest},
		"key":    {"about", func(about string) string { return strings.Replace(about, `"key":"cap-signing"`, `"key":"other"`, 1) }},
		"pool":   {"about", func(about string) string { return strings.Replace(about, `"pool":"default"`, `"pool":"other"`, 1) }},
	} {
		out, errs, status := capRun(t.Context(), nil, "sign-batch", "--detach", "--what", "checksum", file, "--nats", server.URL())
		if status != 0 {
			t.Fatal(errs)
		}
		id := strings.TrimSpace(out)
		subject := capsign.RunSubject(capsign.TenantLocal, id, forged.document)
		part, err := nc.Request("$JS.API.DIRECT.GET."+capsign.RunsStream+"."+subject, nil, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Request(subject, []byte(forged.change(string(part.Data))), 5*time.Second); err != nil {
			t.Fatal(err)
		}
		out, errs, status = capRun(t.Context(), nil, "jobs", "get", id, "--nats", server.URL())
		if status != capsign.Integrity.ExitStatus() || !strings.Contains(out, `"code":"integrity"`) || strings.Contains(out, `"signature"`) {
			t.Errorf("another %s: status %d: %s%s", name, status, out, errs)
		}
		if strings.Contains(out+errs, "\x1b") {
			t.Errorf("another %s: an escape sequence is printed: %q", name, out+errs)
		}
	}
}

// swapDigest changes a part's first digest.
func swapDigest(part string) string {
	before, after, _ := strings.Cut(part, `"sha256":"`)
	return before + `"sha256":"` + strings.Repeat("0", 64) + after[64:]
}
