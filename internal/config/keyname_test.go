package config

import (
	"testing"

	"github.com/capsign/cap/capsign"
)

func TestKeyName(t *testing.T) {
	pkcs11 := missionConfig()
	cloud, software, named := pkcs11, pkcs11, pkcs11
	cloud.Key.Provider = capsign.ProviderCloudKMS
	software.Key.Provider = capsign.ProviderSoftware
	software.Key.PKCS11.KeyLabel = "unused"
	named.Key.Name = "release-2026"
	pkcs11.Key.PKCS11.KeyLabel = "hsm-key"
	for want, cfg := range map[string]Config{
		"hsm-key": pkcs11, "cap-signer": cloud, DefaultKeyName: software, "release-2026": named,
	} {
		if got := cfg.KeyName(); got != want {
			t.Errorf("provider %s: key name %q, want %q", cfg.Key.Provider, got, want)
		}
	}
}

// A URI is read for the name whether it is resolved or not.
func TestKeyNameFromTheURI(t *testing.T) {
	cfg := missionConfig()
	cfg.Key.PKCS11.KeyLabel, cfg.Key.PKCS11.URI = "", "pkcs11:object=from%20uri"
	if got := cfg.KeyName(); got != "from uri" {
		t.Errorf("key name %q", got)
	}
	cfg.Key.PKCS11.URI = "pkcs11:id=%01"
	if got := cfg.KeyName(); got != DefaultKeyName {
		t.Errorf("key name of a key id %q", got)
	}
}

// The same key has one name through its alias in every region, and none through
// its id.
func TestKeyNameOfTheClouds(t *testing.T) {
	for _, test := range []struct{ vendor, key, want string }{
		{VendorGCP, "cap-signer", "cap-signer"},
		{VendorAzure, "cap-signer", "cap-signer"},
		{VendorAWS, "alias/cap-signer", "cap-signer"},
		{VendorAWS, "alias/team/cap", "team/cap"},
		{VendorAWS, "arn:aws:kms:eu-west-1:111122223333:alias/cap-signer", "cap-signer"},
		{VendorAWS, awsKeyID, DefaultKeyName},
		{VendorAWS, "arn:aws:kms:eu-west-1:111122223333:key/" + awsKeyID, DefaultKeyName},
	} {
		cfg := Default()
		cfg.Key.Provider = capsign.ProviderCloudKMS
		cfg.Key.CloudKMS = CloudKMS{Vendor: test.vendor, Key: test.key}
		if got := cfg.KeyName(); got != test.want {
			t.Errorf("%s %s: key name %q, want %q", test.vendor, test.key, got, test.want)
		}
	}
}

// An id in the kid would be another one for the same key elsewhere.
func TestAWSKeyIDsNeedAName(t *testing.T) {
	const why = "missing; a key id or key ARN needs it, or the id would go into the kid, and the key's copy in another region would have another kid"
	for _, key := range []string{
		awsKeyID, "mrk-1234abcd12ab34cd56ef1234567890ab", "arn:aws:kms:eu-west-1:111122223333:key/" + awsKeyID,
	} {
		cfg := cloud(CloudKMS{Vendor: VendorAWS, Key: key})
		checkFaults(t, cfg, "key.name: "+why)
		cfg.Key.Name = "cap-signer"
		checkFaults(t, cfg)
		cfg.Key.Name, cfg.Key.Provider = "", capsign.ProviderSoftware
		checkFaults(t, cfg)
	}
}
