package gcp

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Credentials writes the key file of a service account that nobody knows to a
// directory of the test's and has application default credentials find it. The
// SDK signs its tokens itself with such a file, and asks no server for them.
func Credentials(t testing.TB) {
	t.Helper()
	file, err := WriteCredentials(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
}

// WriteCredentials writes the key file of a service account that nobody knows to
// dir and returns its path.
func WriteCredentials(dir string) (string, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", fmt.Errorf("gcp: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", fmt.Errorf("gcp: %w", err)
	}
	content, err := json.Marshal(map[string]string{
		"type":           "service_account",
		"project_id":     Project,
		"private_key_id": "0123456789abcdef",
		"private_key":    string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email":   "signer@" + Project + ".iam.gserviceaccount.invalid",
		"client_id":      "1",
		"token_uri":      "http://127.0.0.1:1/token",
	})
	if err != nil {
		return "", fmt.Errorf("gcp: %w", err)
	}
	path := filepath.Join(dir, "service-account.json")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return "", fmt.Errorf("gcp: %w", err)
	}
	return path, nil
}
