package providertest

import (
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/capsign/cap/capsign"
)

// openSSLAgrees has the openssl program verify: a second implementation, and
// the one that most people would verify with.
func openSSLAgrees(t *testing.T, cfg Config) {
	provider := cfg.open(t)
	key := publicKey(t, provider, currentKID(t, provider))
	for _, length := range []int{1, 32, min(4096, cfg.maxMessage())} {
		msg := message(length)
		sig := sign(t, provider, key.KID, msg)
		if out, err := openSSLVerify(t, key, msg, sig.Bytes); err != nil {
			t.Errorf("openssl refuses a signature of %d bytes: %v\n%s", length, err, out)
		}
		if out, err := openSSLVerify(t, key, flip(msg, 3), sig.Bytes); err == nil {
			t.Errorf("openssl accepts the signature of another message\n%s", out)
		}
	}
}

// openSSLVerify runs openssl on a public key, a message and a signature.
func openSSLVerify(t *testing.T, key capsign.Key, msg, sig []byte) ([]byte, error) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatalf("this test needs the openssl program: %v", err)
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keyFile := write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: key.SPKI}))
	msgFile, sigFile := write("msg", msg), write("sig", sig)
	args := []string{"dgst", "-verify", keyFile, "-signature", sigFile}
	switch key.Alg {
	case capsign.Ed25519:
		args = []string{"pkeyutl", "-verify", "-pubin", "-inkey", keyFile, "-rawin", "-sigfile", sigFile, "-in"}
	case capsign.ES384:
		args = append(args, "-sha384")
	case capsign.PS256:
		args = append(args, "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32")
	default:
		args = append(args, "-sha256")
	}
	return exec.CommandContext(t.Context(), "openssl", append(args, msgFile)...).CombinedOutput()
}
