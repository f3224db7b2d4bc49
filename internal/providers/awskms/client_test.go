package awskms

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/aws"
)

func TestConfigurationsThatCannotBeUsed(t *testing.T) {
	server := newServer(t, aws.Options{})
	arn := addKey(t, server, testAlias, aws.P256, nil)
	garbage := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(garbage, []byte("no certificate"), 0o600))
	for name, spoil := range map[string]func(*Config){
		"no key":                     func(c *Config) { c.Key = "" },
		"an alias without a name":    func(c *Config) { c.Key = "alias/" },
		"a key id with a slash":      func(c *Config) { c.Key = "key/" + keyID(arn) },
		"an ARN of another service":  func(c *Config) { c.Key = "arn:aws:s3:eu-central-1:111122223333:key/1" },
		"an ARN of neither":          func(c *Config) { c.Key = "arn:aws:kms:eu-central-1:111122223333:grant/1" },
		"an ARN without a region":    func(c *Config) { c.Key = "arn:aws:kms::111122223333:" + testAlias },
		"an ARN of a bare id":        func(c *Config) { c.Key = "arn:aws:kms:eu-central-1:111122223333:" + keyID(arn) },
		"an ARN of another region":   func(c *Config) { c.Key, c.Region = arn, "us-east-1" },
		"no region":                  func(c *Config) { c.Region = "" },
		"no region but a host":       func(c *Config) { c.Region = "evil.example/x" },
		"no key name":                func(c *Config) { c.KeyName = "" },
		"http":                       func(c *Config) { c.Endpoint = "http://kms.example.com" },
		"http that looks like local": func(c *Config) { c.Endpoint = "http://localhost.example.com" },
		"http at a local user":       func(c *Config) { c.Endpoint = "http://127.0.0.1@kms.example.com" },
		"http at any address":        func(c *Config) { c.Endpoint = "http://0.0.0.0:1" },
		"https with a password":      func(c *Config) { c.Endpoint = "https://user:password@127.0.0.1" },
		"https without a host":       func(c *Config) { c.Endpoint = "https://:443" },
		"another scheme":             func(c *Config) { c.Endpoint = "ftp://127.0.0.1" },
		"no URL":                     func(c *Config) { c.Endpoint = "127.0.0.1:443" },
		"no CA file":                 func(c *Config) { c.CAFile = garbage + ".gone" },
		"a CA file of nothing":       func(c *Config) { c.CAFile = garbage },
	} {
		cfg := configFor(server, testAlias)
		spoil(&cfg)
		if _, err := Open(t.Context(), cfg); err == nil || err.Error()[:len("awskms: ")] != "awskms: " {
			t.Errorf("Open with %s = %v", name, err)
		} else {
			mustWrap(t, "Open with "+name, err, capsign.ConfigInvalid)
		}
	}
	if calls := server.Faults.Calls(""); calls != 0 {
		t.Errorf("the service was asked %d times", calls)
	}
}

// A key ARN says which region it is in; else the SDK's chain does.
func TestRegionOfTheKey(t *testing.T) {
	server := newServer(t, aws.Options{Region: "us-gov-west-1"})
	arn := addKey(t, server, testAlias, aws.P256, nil)
	cfg := configFor(server, arn)
	cfg.Region = ""
	t.Setenv("AWS_REGION", "eu-central-1")
	mustSign(t, open(t, cfg), "", 5*time.Second)
	t.Setenv("AWS_REGION", "us-gov-west-1")
	cfg.Key = testAlias
	mustSign(t, open(t, cfg), "", 5*time.Second)
}

// The endpoint is the configuration's or AWS's own.
func TestEndpointsOfTheEnvironmentAreIgnored(t *testing.T) {
	withoutCredentials(t)
	t.Setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
	c, err := newClient(t.Context(), Config{Region: "eu-central-1", Key: testAlias, KeyName: testKeyName})
	must(t, err)
	if endpoint := c.kms.Options().BaseEndpoint; endpoint != nil {
		t.Errorf("endpoint %s", *endpoint)
	}
}

// Nobody who asks for AWS's FIPS endpoints is sent elsewhere in silence.
func TestFIPSEndpointsAreKept(t *testing.T) {
	server := newServer(t, aws.Options{})
	addKey(t, server, testAlias, aws.P256, nil)
	for _, name := range []string{"AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"} {
		t.Setenv(name, "true")
		_, err := Open(t.Context(), configFor(server, testAlias))
		mustWrap(t, "Open with "+name, err, capsign.ConfigInvalid)
		t.Setenv(name, "")
	}
	mustSign(t, open(t, configFor(server, testAlias)), "", 5*time.Second)
}

// What goes over plain http is signed with credentials that are none.
func TestRealCredentialsStayAwayFromHTTP(t *testing.T) {
	for key, want := range map[string]capsign.Code{"loopback": "", "AKIDEXAMPLE": capsign.CredentialsInvalid} {
		server := newServer(t, aws.Options{Plain: true, AccessKey: key})
		addKey(t, server, testAlias, aws.P256, nil)
		provider, err := Open(t.Context(), configFor(server, testAlias))
		if want != "" {
			mustWrap(t, "Open where the real ones are asked for", err, want)
			continue
		}
		must(t, err)
		mustSign(t, provider, "", 5*time.Second)
		must(t, provider.Close())
	}
}

func TestCertificateOfNobodyIsRefused(t *testing.T) {
	server := newServer(t, aws.Options{})
	addKey(t, server, testAlias, aws.P256, nil)
	cfg := configFor(server, testAlias)
	cfg.CAFile = ""
	_, err := Open(t.Context(), cfg)
	mustWrap(t, "Open with the system's certificates", err, capsign.TLSUntrusted)
}

func TestCredentialsThatDoNotDo(t *testing.T) {
	server := newServer(t, aws.Options{AccessKey: "AKIDEXAMPLE"})
	addKey(t, server, testAlias, aws.P256, nil)
	provider := open(t, configFor(server, testAlias))
	mustSign(t, provider, "", 5*time.Second)
	t.Setenv("AWS_SESSION_TOKEN", "expired")
	_, err := Open(t.Context(), configFor(server, testAlias))
	mustWrap(t, "Open with an expired token", err, capsign.CredentialsInvalid)
	t.Setenv("AWS_SESSION_TOKEN", "")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDUNKNOWN")
	_, err = Open(t.Context(), configFor(server, testAlias))
	mustWrap(t, "Open with unknown credentials", err, capsign.CredentialsInvalid)
	t.Setenv("AWS_PROFILE", "nobody")
	_, err = Open(t.Context(), configFor(server, testAlias))
	mustWrap(t, "Open with a profile that is not there", err, capsign.CredentialsInvalid)
	mustSign(t, provider, "", 5*time.Second)
}

// Where there are no credentials the chain asks a metadata service that most
// machines do not have.
func TestMissingCredentialsAreNotWaitedFor(t *testing.T) {
	server := newServer(t, aws.Options{})
	addKey(t, server, testAlias, aws.P256, nil)
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	for name, endpoint := range map[string]string{"silent": "http://" + silent.Addr().String(), "refusing": "http://127.0.0.1:1"} {
		withoutCredentials(t)
		t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
		t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := Open(ctx, configFor(server, testAlias))
		cancel()
		mustWrap(t, "Open beside a "+name+" metadata service", err, capsign.CredentialsInvalid)
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("%s: took %v", name, took)
		}
	}
	if calls := server.Faults.Calls(""); calls != 0 {
		t.Errorf("the service was asked %d times", calls)
	}
}
