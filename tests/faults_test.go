//go:build cgo

package tests

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/aws"
	"github.com/capsign/cap/internal/kmstest/fault"
	"github.com/capsign/cap/internal/providers/pkcs11/p11test"
)

// awsSecret is the secret access key of the workers under test.
const awsSecret = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"

// vendorWords are texts of vendors' that no output may contain.
var vendorWords = []string{awsSecret, "Exception", "arn:", "111122223333", "CKR_", "pkcs11: 0x", "AKIDEXAMPLE", p11test.WrongPIN}

// mustBeTold says that a client of the site's is told code, or one of the others,
// with its exit status, before its own patience ends, and gets no signature.
func (s *site) mustBeTold(code capsign.Code, or ...capsign.Code) {
	s.t.Helper()
	out, errs, status := s.sign()
	if !slices.ContainsFunc(append(or, code), func(code capsign.Code) bool {
		return status == code.ExitStatus() && strings.Contains(errs, "("+string(code)+")")
	}) {
		s.t.Errorf("cap keys sign: status %d: %s; want %d, %s", status, errs, code.ExitStatus(), code)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "sig")); err == nil {
		s.t.Error("there is a signature")
	}
	for _, word := range vendorWords {
		if strings.Contains(out+errs, word) {
			s.t.Errorf("the client is told %q: %s", word, errs)
		}
	}
}

// mustSignAgain says that the pool signs before long.
func (s *site) mustSignAgain() {
	s.t.Helper()
	await(s.t, "a signature", func() bool {
		_, _, status := s.sign()
		return status == 0
	})
}

// mustEnd says that a worker ends by itself with code's exit status, and says
// the code.
func (s *site) mustEnd(name string, code capsign.Code) {
	s.t.Helper()
	status := s.exit(name)
	log, err := os.ReadFile(filepath.Join(s.dir, name+".log"))
	if err != nil || status != code.ExitStatus() || !strings.Contains(string(log), "("+string(code)+")") {
		s.t.Errorf("the worker ends with status %d, %v:\n%s\nwant %d, %s", status, err, log, code.ExitStatus(), code)
	}
}

// TestFaultLineOfClouds breaks a cloud under a running worker, which must tell
// its clients and go on when it is mended, and under one that starts.
func TestFaultLineOfClouds(t *testing.T) {
	breaks := func(f fault.Fault) func(*cloudSite) { return func(c *cloudSite) { c.server.Faults.Set(f) } }
	for _, test := range []struct {
		name string
		code capsign.Code
		in   func(*cloudSite)
		or   []capsign.Code
	}{
		{"KMS timeout", capsign.ProviderTimeout, breaks(fault.Fault{Kind: fault.Hang}), nil},
		{"KMS throttled", capsign.Throttled, breaks(fault.Fault{Kind: fault.Error, Code: fault.Throttled}), nil},
		{"KMS unavailable", capsign.ProviderUnavailable, breaks(fault.Fault{Kind: fault.Error, Code: fault.Unavailable}), nil},
		{"permission denied", capsign.ProviderDenied, breaks(fault.Fault{Kind: fault.Error, Code: fault.PermissionDenied}), nil},
		{"key disabled", capsign.KeyDisabled, func(c *cloudSite) { c.switchKey(c.server.Disable) }, nil},
		{"credentials expired", capsign.CredentialsInvalid, breaks(fault.Fault{Kind: fault.Error, Code: fault.Unauthenticated}), nil},
		{"TLS untrusted", capsign.TLSUntrusted, func(c *cloudSite) {
			c.server.Present(c.server.Certificates().Untrusted)
			c.proxy.Drop()
		}, nil},
		{"connection black-holed", capsign.ProviderTimeout, func(c *cloudSite) { c.proxy.StallAll() },
			[]capsign.Code{capsign.ProviderUnavailable}}, // once the connection's own pings have found it dead
		{"connection refused", capsign.ProviderUnavailable, func(c *cloudSite) { c.server.Stop(); c.proxy.Drop() }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCloudSite(t)
			c.startWorker("running")
			c.mustSignAgain()
			test.in(c)
			c.mustBeTold(test.code, test.or...)
			c.mustBeTold(test.code, test.or...)
			c.mend()
			c.mustSignAgain()
			c.kill("running")

			test.in(c)
			c.startWorker("starting")
			if test.code.Retryable() {
				c.awaitState(capsign.PoolPaused)
				c.mustBeTold(test.code, test.or...)
				c.mend()
				c.mustSignAgain()
			} else {
				c.mustEnd("starting", test.code)
				c.mustBeTold(test.code)
			}
			c.mustKeepSilent(vendorWords...)
		})
	}
}

// cloudSite is a site whose workers' key is in a key management service behind a
// proxy.
type cloudSite struct {
	*site
	server *aws.Server
	proxy  *fault.Proxy
	key    string // its ARN
	conf   string
}

// switchKey has the service enable or disable the key.
func (c *cloudSite) switchKey(how func(string) error) {
	c.t.Helper()
	if err := how(c.key); err != nil {
		c.t.Fatal(err)
	}
}

// newCloudSite starts a broker and a service with one key.
func newCloudSite(t *testing.T) *cloudSite {
	t.Helper()
	server, err := aws.New(aws.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	key, err := server.AddKey("alias/cap-signer", "ECC_NIST_P256", nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &cloudSite{site: newSite(t), server: server, key: key, proxy: fault.BlackHole(t, server.Address())}
	c.env = []string{"AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=" + awsSecret, "AWS_EC2_METADATA_DISABLED=true"}
	c.startServer()
	_, port, err := net.SplitHostPort(c.proxy.Addr())
	if err != nil {
		t.Fatal(err)
	}
	c.conf = filepath.Join(c.dir, "cloud.yaml")
	text := fmt.Sprintf("key:\n  provider: cloudkms\n  sign_timeout: 1s\n  cloudkms:\n    vendor: aws\n    region: %s\n"+
		"    key: alias/cap-signer\n    endpoint: https://127.0.0.1:%s\n    ca_file: %q\n", server.Region(), port, server.Certificates().CAFile)
	if err := os.WriteFile(c.conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// startWorker starts a worker and, unless it is to meet a fault, waits for it.
func (c *cloudSite) startWorker(name string) {
	c.t.Helper()
	c.run(name, "worker", "--config", c.conf, "--nats", c.url(), "--data", filepath.Join(c.dir, "data-"+name))
	if name == "running" {
		c.awaitWorkers(1)
	}
}

// mend undoes what broke the service.
func (c *cloudSite) mend() {
	c.t.Helper()
	c.server.Faults.Clear()
	c.switchKey(c.server.Enable)
	c.server.Present(c.server.Certificates().Server)
	if err := c.server.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.proxy.Resume()
	c.proxy.Drop()
}

// TestFaultLineOfTokens breaks a token under a running worker and under one that
// starts.
func TestFaultLineOfTokens(t *testing.T) {
	t.Run("token absent", func(t *testing.T) {
		chaos := p11test.WithChaos(t, p11test.SoftHSM(t))
		s := newTokenSite(t, chaos.Token)
		chaos.Rule(t, "any rv=0x32") // CKR_DEVICE_REMOVED
		s.mustBeTold(capsign.TokenAbsent)
		chaos.Clear(t)
		s.mustSignAgain()
		s.kill("running")
		other := chaos.Variant(func(tok *p11test.Token) { tok.Label = "another token" })
		s.runTokenWorker("starting", s.writeTokenConfig(other))
		s.awaitState(capsign.PoolPaused)
		s.mustBeTold(capsign.TokenAbsent)
		s.kill("starting")
		s.runTokenWorker("again", s.writeTokenConfig(chaos.Token))
		s.mustSignAgain()
		s.mustKeepSilent(vendorWords...)
	})
	t.Run("module missing", func(t *testing.T) {
		token := p11test.SoftHSM(t)
		s := newTokenSite(t, token)
		s.kill("running")
		s.runTokenWorker("starting", s.writeTokenConfig(token.Variant(func(tok *p11test.Token) { tok.Module = "/nonexistent/module.so" })))
		s.mustEnd("starting", capsign.ModuleInvalid)
		s.mustBeTold(capsign.ModuleInvalid)
		s.mustKeepSilent(append(vendorWords, "/nonexistent")...)
	})
	t.Run("wrong PIN", func(t *testing.T) {
		token := p11test.SoftHSM(t)
		s := newTokenSite(t, token)
		s.kill("running")
		s.env = append(token.Env(), pinVariable+"="+p11test.WrongPIN)
		s.runTokenWorker("starting", s.writeTokenConfig(token))
		s.mustEnd("starting", capsign.PINIncorrect)
		s.mustBeTold(capsign.PINIncorrect)
		s.mustKeepSilent(append(vendorWords, token.PIN)...)
	})
	t.Run("wrong signature", func(t *testing.T) {
		chaos := p11test.WithChaos(t, p11test.SoftHSM(t))
		s := newTokenSite(t, chaos.Token)
		chaos.Rule(t, "C_Sign flip")
		s.mustBeTold(capsign.Integrity)
		chaos.Clear(t)
		s.mustBeTold(capsign.Integrity) // until an operator has looked at it
		if _, errs, status := runCap(t, s.dir, "pool", "resume", "default", "--nats", s.url()); status != 0 {
			t.Fatalf("cap pool resume: status %d: %s", status, errs)
		}
		s.mustSignAgain()
	})
	t.Run("module crashes", func(t *testing.T) {
		chaos := p11test.WithChaos(t, p11test.SoftHSM(t))
		s := newTokenSite(t, chaos.Token)
		chaos.Rule(t, "C_Sign crash")
		if _, errs, status := runCap(t, s.dir, "keys", "sign", "--in", "msg", "--out", "sig", "--timeout", "3s", "--nats", s.url()); status == 0 {
			t.Errorf("signed by a module that crashes: %s", errs)
		}
		s.exit("running")
		chaos.Clear(t)
		s.runTokenWorker("again", s.writeTokenConfig(chaos.Token))
		s.awaitWorkers(1)
		s.mustSignAgain()
	})
}

// newTokenSite starts a broker and a worker, named running, with a P-256 key on
// the token.
func newTokenSite(t *testing.T, token *p11test.Token) *site {
	t.Helper()
	token.Generate(t, capsign.ES256, "cap-signing", "01")
	s := newSite(t)
	s.startServer()
	s.env = append(token.Env(), pinVariable+"="+token.PIN)
	s.runTokenWorker("running", s.writeTokenConfig(token))
	s.awaitWorkers(1)
	s.mustSignAgain()
	return s
}

// TestFaultLineOfALockedTPM has wrong PINs lock a real TPM's dictionary-attack
// protection under a running worker, and under one that starts.
func TestFaultLineOfALockedTPM(t *testing.T) {
	tpm := p11test.TPM(t)
	s := newTokenSite(t, tpm.Token)
	s.kill("running")
	tpm.Lock(t)
	s.runTokenWorker("starting", s.writeTokenConfig(tpm.Token))
	s.mustEnd("starting", capsign.TokenLocked)
	s.mustBeTold(capsign.TokenLocked)
	tpm.Unlock(t)
	s.runTokenWorker("blocked", s.writeTokenConfig(tpm.Token))
	s.mustEnd("blocked", capsign.TokenLocked) // until an operator says that it is unlocked
	if _, errs, status := runCap(t, s.dir, "pool", "resume", "default", "--nats", s.url()); status != 0 {
		t.Fatalf("cap pool resume: status %d: %s", status, errs)
	}
	s.runTokenWorker("resumed", s.writeTokenConfig(tpm.Token))
	s.awaitWorkers(1)
	s.mustSignAgain()
}
