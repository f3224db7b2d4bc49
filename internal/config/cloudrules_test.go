package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
)

// awsKeyID is the form of an aws key id.
const awsKeyID = "1234abcd-12ab-34cd-56ef-1234567890ab"

// cloud returns a configuration that uses a cloud key.
func cloud(k CloudKMS) Config {
	cfg := Default()
	cfg.Key.Provider, cfg.Key.CloudKMS = capsign.ProviderCloudKMS, k
	return cfg
}

// One whole key of each vendor.
func gcpKey() CloudKMS {
	return CloudKMS{Vendor: VendorGCP, Project: "my-proj", Location: "eu", KeyRing: "cap-ring", Key: "cap-signer"}
}

func awsKey() CloudKMS { return CloudKMS{Vendor: VendorAWS, Key: "alias/cap-signer"} }

func azureKey() CloudKMS {
	return CloudKMS{Vendor: VendorAzure, VaultURL: "https://my-vault.vault.azure.net", Key: "cap-signer"}
}

// checkFaults fails unless cfg has exactly these faults, each "key: problem".
func checkFaults(t *testing.T, cfg Config, want ...string) {
	t.Helper()
	var got []string
	for _, fault := range cfg.faults() {
		got = append(got, fault.Key+": "+fault.Problem)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEachVendorNeedsItsOwnKeys(t *testing.T) {
	for vendor, want := range map[string][]string{
		VendorGCP: {
			"key.cloudkms.project: missing; vendor gcp needs it", "key.cloudkms.location: missing; vendor gcp needs it",
			"key.cloudkms.keyring: missing; vendor gcp needs it", "key.cloudkms.key: missing; vendor gcp needs it",
		},
		VendorAWS:   {"key.cloudkms.key: missing; vendor aws needs it"},
		VendorAzure: {"key.cloudkms.vault_url: missing; vendor azure needs it", "key.cloudkms.key: missing; vendor azure needs it"},
		"":          {"key.cloudkms.vendor: must be one of gcp, aws, azure"},
		"oracle":    {"key.cloudkms.vendor: must be one of gcp, aws, azure"},
	} {
		checkFaults(t, cloud(CloudKMS{Vendor: vendor}), want...)
	}
	for _, k := range []CloudKMS{gcpKey(), awsKey(), azureKey()} {
		checkFaults(t, cloud(k))
	}
}

func TestAVendorsKeysDoNotGoWithAnother(t *testing.T) {
	fill := func(k CloudKMS) CloudKMS {
		k.Project, k.Location, k.KeyRing = "a", "b", "c"
		k.Region, k.VaultURL, k.Version = "eu-central-1", "https://a", "latest"
		return k
	}
	for _, test := range []struct {
		k    CloudKMS
		want string
	}{
		{gcpKey(), "region aws, vault_url azure"},
		{awsKey(), "project gcp, location gcp, keyring gcp, vault_url azure, version gcp or azure"},
		{azureKey(), "project gcp, location gcp, keyring gcp, region aws"},
	} {
		var want []string
		for part := range strings.SplitSeq(test.want, ", ") {
			key, vendors, _ := strings.Cut(part, " ")
			want = append(want, "key.cloudkms."+key+": goes with vendor "+vendors+", not with "+test.k.Vendor)
		}
		checkFaults(t, cloud(fill(test.k)), want...)
	}
}

func TestACloudSectionWithoutVendorIsGCP(t *testing.T) {
	cfg := mustParse(t, "key: {provider: cloudkms, cloudkms: {project: a, location: b, keyring: c, key: d}}\n")
	if cfg.Key.CloudKMS.Vendor != VendorGCP {
		t.Errorf("vendor %q", cfg.Key.CloudKMS.Vendor)
	}
}

func TestFormsOfTheClouds(t *testing.T) {
	const (
		project  = `must be a project's id: small letters, digits, ".", ":" and "-", 63 at most`
		location = "must be a location such as europe-west3"
		gcpName  = `must be a short name, not a path: letters, digits, "_" and "-", 63 at most`
		awsForm  = "must be a key id, a key ARN, an alias such as alias/cap-signer, or an alias ARN"
		origin   = "must be https:// and a host without anything after it, such as "
		vault    = origin + "https://my-vault.vault.azure.net"
		endpoint = origin + "https://kms.example.com"
		plain    = endpoint + "; http:// with a loopback host only"
		algs     = "must be one of Ed25519, ES256, ES384, PS256, RS256"
		arn      = "arn:aws:kms:eu-west-1:111122223333:"
	)
	for _, test := range []struct {
		k         CloudKMS
		key, want string
		values    []string
	}{
		{gcpKey(), "version", "", []string{"", "latest", "1", "4294967296"}},
		{gcpKey(), "version", "must be latest, or a version's number in quotes", []string{"newest", "0", "01", "-1", strings.Repeat("a", 32)}},
		{gcpKey(), "project", "", []string{"my-proj", "example.com:my-proj", "0", strings.Repeat("a", 63)}},
		{gcpKey(), "project", project, []string{"a/b", "My-Proj", ":a", "../a", strings.Repeat("a", 64)}},
		{gcpKey(), "location", location, []string{"EU", "a/b", "eu.west", strings.Repeat("a", 64)}},
		{gcpKey(), "keyring", gcpName, []string{"a/b", "a.b", strings.Repeat("a", 64)}},
		{gcpKey(), "key", "", []string{"a", "A_b-1", strings.Repeat("a", 63)}},
		{gcpKey(), "key", gcpName, []string{"a/b", "a.b", "a:b", "projects/a/locations/b", "a b", strings.Repeat("a", 64)}},
		{gcpKey(), "alg", "", []string{"", "Ed25519", "ES256", "ES384", "PS256", "RS256"}},
		{gcpKey(), "alg", algs, []string{"ES512", "ed25519"}},
		{awsKey(), "key", "", []string{"alias/a", "alias/team/a_b-1", arn + "alias/a"}},
		{awsKey(), "key", awsForm, []string{
			"cap-signer", "alias/", "alias/a b", "1234", strings.ToUpper(awsKeyID), awsKeyID + "0", "mrk-" + awsKeyID,
			arn + awsKeyID, "arn:aws:iam::111122223333:role/a", "arn:aws:kms:eu-west-1:1:alias/a", "arn:gcp:kms:a:111122223333:alias/a",
		}},
		{awsKey(), "key", "must not be an alias of aws's own keys, which do not sign", []string{"alias/aws/s3"}},
		{awsKey(), "key", "must be at most 128 bytes of printable text", []string{"alias/" + strings.Repeat("a", 129)}},
		{awsKey(), "region", "", []string{"", "eu-central-1", "us-gov-west-1", "eusc-de-east-1"}},
		{awsKey(), "region", "must be a region such as eu-central-1", []string{"Frankfurt", "eu-central", "https://a"}},
		{awsKey(), "alg", algs, []string{"ES512"}},
		{azureKey(), "version", "", []string{"", "latest", strings.Repeat("0a", 16)}},
		{azureKey(), "version", "must be latest, or a version's 32 hexadecimal digits", []string{"1", strings.Repeat("0A", 16), strings.Repeat("0a", 17)}},
		{azureKey(), "key", `must be a key's name: letters, digits and "-", 127 at most`, []string{"a_b", "keys/a", strings.Repeat("a", 128)}},
		{azureKey(), "vault_url", "", []string{"https://a.vault.azure.net", "https://a.managedhsm.azure.net", "https://127.0.0.1"}},
		{azureKey(), "vault_url", vault, []string{
			"my-vault", "http://a", "http://127.0.0.1:1", "https://", "https://a/", "https://a/keys/b", "https://u:p@a", "https://a?sig=b", "https://a#b", "https://a:0", "https://a:", "https://a:443", "https://[::1]",
		}},
		{azureKey(), "alg", "must be one of ES256, ES384, PS256, RS256", []string{"Ed25519"}},
		{gcpKey(), "endpoint", "", []string{"https://kms.example.com", "https://10.0.0.1:8443", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"}},
		{awsKey(), "endpoint", "", []string{"http://127.0.0.1:5000"}},
		{awsKey(), "endpoint", plain, []string{"kms.example.com:443", "http://10.0.0.1", "http://localhost.example.com", "ftp://127.0.0.1", "https://u:p@a", "http://127.0.0.1/a", "https://a?b", "https://a b", "https://a:0", "https://a:", "https://a:99999"}},
		{azureKey(), "endpoint", endpoint, []string{"http://127.0.0.1:1", "https://a/b"}},
		{gcpKey(), "ca_file", "must be a path", []string{"a\x00b"}},
	} {
		for _, value := range test.values {
			k := test.k
			*map[string]*string{
				"project": &k.Project, "location": &k.Location, "keyring": &k.KeyRing,
				"version": &k.Version, "key": &k.Key, "region": &k.Region, "vault_url": &k.VaultURL,
				"endpoint": &k.Endpoint, "ca_file": &k.CAFile, "alg": (*string)(&k.Alg),
			}[test.key] = value
			t.Run(k.Vendor+" "+test.key+" "+value, func(t *testing.T) {
				if test.want == "" {
					checkFaults(t, cloud(k))
				} else {
					checkFaults(t, cloud(k), "key.cloudkms."+test.key+": "+test.want)
				}
			})
		}
	}
}

func TestRegionOfAnARN(t *testing.T) {
	k := awsKey()
	k.Key, k.Region = "arn:aws:kms:eu-west-1:111122223333:alias/a", "eu-west-1"
	checkFaults(t, cloud(k))
	k.Region = "eu-west-2"
	checkFaults(t, cloud(k), "key.cloudkms.region: is not the region in the ARN in key; keep one")
}

// What is there must be right, but a section out of use may be incomplete.
func TestACloudOutOfUseMayBeIncomplete(t *testing.T) {
	cfg := cloud(CloudKMS{Vendor: VendorAzure, Alg: "Ed25519"})
	cfg.Key.Provider = capsign.ProviderSoftware
	checkFaults(t, cfg, "key.cloudkms.alg: must be one of ES256, ES384, PS256, RS256")
}
