package deploy

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/capsign/cap/internal/porttest"
)

// TestKeyManagementServiceForTryingOutKeepsItsKey has a worker sign with the
// server of docker-compose.yml's pool "cloud", before and after its restart.
func TestKeyManagementServiceForTryingOutKeepsItsKey(t *testing.T) {
	dir := t.TempDir()
	port := porttest.Free(t)
	text := read(t, filepath.Join(root, "deploy", "workers", "cloud.yaml"))
	_, text, _ = strings.Cut(strings.ReplaceAll(text, "127.0.0.1:7443", fmt.Sprintf("127.0.0.1:%d", port)), "\nkey:")
	text, _, _ = strings.Cut("key:"+text, "nats:")
	write(t, filepath.Join(dir, "key.yaml"), text)
	kids := make(map[string]bool)
	for range 2 {
		server := start(t, dir, nil, "kmsserver", "-listen", fmt.Sprintf("127.0.0.1:%d", port))
		eventually(t, func() error {
			if !strings.Contains(server.said.String(), "serving") {
				return errors.New("the server does not serve")
			}
			return nil
		})
		out := runCommand(t, dir, command(t, "worker"), "keys", "check", "--config", "key.yaml", "--data", filepath.Join(dir, "data"))
		kids[out[:64]] = true
		server.kill()
	}
	if len(kids) != 1 {
		t.Errorf("the key is another after a restart: %v", kids)
	}
}
