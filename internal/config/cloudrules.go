package config

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/capsign/cap/capsign"
)

// Forms of the vendors' names.
var (
	gcpProjectForm   = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{0,62}$`)
	gcpLocationForm  = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)
	gcpNameForm      = regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}$`)
	gcpVersionForm   = regexp.MustCompile(`^(latest|[1-9][0-9]{0,9})$`)
	awsRegionForm    = regexp.MustCompile(`^[a-z]{2,10}(-[a-z]{2,12}){1,4}-[0-9]{1,2}$`)
	awsKeyForm       = regexp.MustCompile(`^(arn:aws(-[a-z]+){0,3}:kms:([a-z0-9-]+):[0-9]{12}:(key/` + awsID + `|` + awsAlias + `)|` + awsID + `|` + awsAlias + `)$`)
	azureNameForm    = regexp.MustCompile(`^[0-9A-Za-z-]{1,127}$`)
	azureVersionForm = regexp.MustCompile(`^(latest|[0-9a-f]{32})$`)
)

// The forms of an aws key id, a multi-Region key's included, and of an alias.
const (
	awsID    = `([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32})`
	awsAlias = `alias/[A-Za-z0-9/_-]{1,250}`
)

// cloudKMS checks the cloudkms section, which must be whole where it is used.
func (r *rules) cloudKMS(k CloudKMS, used bool) {
	vendors := []string{VendorGCP, VendorAWS, VendorAzure}
	r.oneOf("key.cloudkms.vendor", k.Vendor, vendors...)
	if !slices.Contains(vendors, k.Vendor) {
		return // what else belongs here depends on it
	}
	r.cloudParts(k, used)
	r.path("key.cloudkms.ca_file", k.CAFile)
	r.endpoint(k.Endpoint, k.Vendor)
	switch k.Vendor {
	case VendorGCP:
		r.gcp(k)
	case VendorAWS:
		r.aws(k)
	case VendorAzure:
		r.azure(k)
	}
}

// cloudParts requires the parts of a key's name that the vendor has, and
// refuses those of the others.
func (r *rules) cloudParts(k CloudKMS, used bool) {
	for _, part := range []struct{ key, value, needed, allowed string }{
		{"project", k.Project, "gcp", "gcp"},
		{"location", k.Location, "gcp", "gcp"},
		{"keyring", k.KeyRing, "gcp", "gcp"},
		{"region", k.Region, "", "aws"},
		{"vault_url", k.VaultURL, "azure", "azure"},
		{"key", k.Key, "gcp, aws, azure", "gcp, aws, azure"},
		{"version", k.Version, "", "gcp, azure"},
	} {
		key := "key.cloudkms." + part.key
		r.that(key, part.value == "" || strings.Contains(part.allowed, k.Vendor),
			"goes with vendor "+strings.ReplaceAll(part.allowed, ", ", " or ")+", not with "+k.Vendor)
		if used && strings.Contains(part.needed, k.Vendor) {
			r.given(key, part.value, "vendor "+k.Vendor)
		}
	}
}

// gcp checks the names of vendor gcp.
func (r *rules) gcp(k CloudKMS) {
	const name = `must be a short name, not a path: letters, digits, "_" and "-", 63 at most`
	r.form("key.cloudkms.project", k.Project, gcpProjectForm, `must be a project's id: small letters, digits, ".", ":" and "-", 63 at most`)
	r.form("key.cloudkms.location", k.Location, gcpLocationForm, "must be a location such as europe-west3")
	r.form("key.cloudkms.keyring", k.KeyRing, gcpNameForm, name)
	r.form("key.cloudkms.key", k.Key, gcpNameForm, name)
	r.form("key.cloudkms.version", k.Version, gcpVersionForm, "must be latest, or a version's number in quotes")
	r.cloudAlg(k.Alg, deviceAlgs...)
}

// aws checks the names of vendor aws.
func (r *rules) aws(k CloudKMS) {
	r.form("key.cloudkms.region", k.Region, awsRegionForm, "must be a region such as eu-central-1")
	r.form("key.cloudkms.key", k.Key, awsKeyForm,
		"must be a key id, a key ARN, an alias such as alias/cap-signer, or an alias ARN")
	r.that("key.cloudkms.key", !strings.Contains(k.Key, "alias/aws/"), "must not be an alias of aws's own keys, which do not sign")
	if arn := awsKeyForm.FindStringSubmatch(k.Key); arn != nil && arn[3] != "" {
		r.that("key.cloudkms.region", k.Region == "" || k.Region == arn[3], "is not the region in the ARN in key; keep one")
	}
	r.cloudAlg(k.Alg, deviceAlgs...)
}

// azure checks the names of vendor azure, which has no Ed25519.
func (r *rules) azure(k CloudKMS) {
	named := isOrigin(k.VaultURL, "https") && strings.Count(k.VaultURL, ":") == 1 // no port: Azure knows the vault by its host
	r.that("key.cloudkms.vault_url", k.VaultURL == "" || named,
		"must be https:// and a host without anything after it, such as https://my-vault.vault.azure.net")
	r.form("key.cloudkms.key", k.Key, azureNameForm, `must be a key's name: letters, digits and "-", 127 at most`)
	r.form("key.cloudkms.version", k.Version, azureVersionForm, "must be latest, or a version's 32 hexadecimal digits")
	r.cloudAlg(k.Alg, deviceAlgs[1:]...)
}

// cloudAlg requires one of a vendor's algorithms, if any.
func (r *rules) cloudAlg(alg capsign.Alg, allowed ...capsign.Alg) {
	if alg != "" {
		r.alg("key.cloudkms.alg", alg, allowed...)
	}
}

// cloudName requires that the key has a name without key.name.
func (r *rules) cloudName(k CloudKMS) {
	r.that("key.name", k.Vendor != VendorAWS || !awsKeyForm.MatchString(k.Key) || k.keyName() != "",
		"missing; a key id or key ARN needs it, or the id would go into the kid, "+
			"and the key's copy in another region would have another kid")
	r.keyName("key.cloudkms.key", k.keyName())
}

// form requires a value of a form, if any.
func (r *rules) form(key, value string, form *regexp.Regexp, problem string) {
	r.that(key, value == "" || form.MatchString(value), problem)
}

// endpoint checks the URL of a private endpoint. azure's credentials do not
// travel in the clear even on loopback.
func (r *rules) endpoint(text, vendor string) {
	const key = "key.cloudkms.endpoint"
	if text == "" || isOrigin(text, "https") {
		return
	}
	problem := "must be https:// and a host without anything after it, such as https://kms.example.com"
	if vendor != VendorAzure {
		u, err := url.Parse(text)
		plain := err == nil && isOrigin(text, "http") && isLoopbackHost(u.Hostname())
		r.that(key, plain, problem+"; http:// with a loopback host only")
		return
	}
	r.that(key, false, problem)
}

// isOrigin reports whether text is a URL of a scheme, a host and at most a
// port: nothing that could be a secret.
func isOrigin(text, scheme string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || strings.ToLower(text) != scheme+"://"+strings.ToLower(u.Host) {
		return false
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return u.Port() == "" && !strings.HasSuffix(u.Host, ":") || err == nil && port > 0
}
