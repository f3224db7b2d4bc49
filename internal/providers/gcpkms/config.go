package gcpkms

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/iterator"

	"github.com/capsign/cap/capsign"
)

// defaultCallTimeout bounds an operation whose context has no deadline.
const defaultCallTimeout = 5 * time.Second

// latest is the version that stands for all that are enabled.
const latest = "latest"

// Config names a CryptoKey and says how to reach it. Credentials are the
// application default credentials of the process.
type Config struct {
	// Project, KeyRing and Key name the CryptoKey.
	Project, KeyRing, Key string
	// Location is the key ring's; empty is global.
	Location string
	// Version is a version's number, and then only this one is held. Empty and
	// latest hold all that are enabled; the highest number is the current one.
	Version string
	// Endpoint is the URL of KMS; empty is Google's. With https, credentials are
	// sent. Plain http is for loopback only, and sends none.
	Endpoint string
	// CAFile is a PEM file of the certificates that are trusted instead of the
	// system's; empty is the system's.
	CAFile string
	// KeyName is the key's logical name, which goes into the kid. It must pass
	// capsign.CheckKeyName.
	KeyName string
	// Alg is ignored: a version has the algorithm of its CryptoKey's template.
	Alg capsign.Alg
	// CallTimeout bounds one operation, its retries included, whose context has
	// no deadline. Zero is 5 s.
	CallTimeout time.Duration
	// Log is told when a connection is replaced; nil is nobody.
	Log *slog.Logger
}

// ConfigFromEnvironment returns the configuration of a real key, for tests
// against Google's own KMS: GCP_PROJECT, GCP_LOCATION (global), GCP_KEYRING,
// GCP_KEY and GCP_KEY_VERSION (latest). It is false where one that has no default
// is empty.
func ConfigFromEnvironment(getenv func(string) string) (Config, bool) {
	cfg := Config{
		Project:  getenv("GCP_PROJECT"),
		Location: getenv("GCP_LOCATION"),
		KeyRing:  getenv("GCP_KEYRING"),
		Key:      getenv("GCP_KEY"),
		Version:  getenv("GCP_KEY_VERSION"),
		KeyName:  getenv("GCP_KEY"),
	}
	return cfg, cfg.Project != "" && cfg.KeyRing != "" && cfg.Key != ""
}

// The forms of the parts of a resource name. A part with a slash in it would
// name another resource.
var (
	projectForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{0,62}$`)
	locationForm = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)
	idForm       = regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}$`)
	versionForm  = regexp.MustCompile(`^[1-9][0-9]{0,8}$`)
)

// keyPath is a CryptoKey under its two names.
type keyPath struct {
	resource string // projects/…/cryptoKeys/…
	name     string // the logical one
	pinned   string // the one version's resource name; empty for all
}

// keyPath checks cfg's names.
func (cfg Config) keyPath(op string) (keyPath, error) {
	location := cmp.Or(cfg.Location, "global")
	if !projectForm.MatchString(cfg.Project) || !locationForm.MatchString(location) ||
		!idForm.MatchString(cfg.KeyRing) || !idForm.MatchString(cfg.Key) || capsign.CheckKeyName(cfg.KeyName) != nil {
		return keyPath{}, refuse(op, capsign.ConfigInvalid)
	}
	key := keyPath{
		resource: "projects/" + cfg.Project + "/locations/" + location + "/keyRings/" + cfg.KeyRing + "/cryptoKeys/" + cfg.Key,
		name:     cfg.KeyName,
	}
	if version := cmp.Or(cfg.Version, latest); version != latest {
		if !versionForm.MatchString(version) {
			return keyPath{}, refuse(op, capsign.ConfigInvalid)
		}
		key.pinned = key.versionPrefix() + version
	}
	return key, nil
}

// versionPrefix is what the resource names of all the key's versions begin with.
func (k keyPath) versionPrefix() string { return k.resource + "/cryptoKeyVersions/" }

// number returns the number of the version with this resource name, if it is one
// of the key's.
func (k keyPath) number(resource string) (int, bool) {
	text, ok := strings.CutPrefix(resource, k.versionPrefix())
	if !ok || !versionForm.MatchString(text) {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}

// versions returns the resource names of the versions to hold, oldest first: the
// pinned one, or those that are enabled.
func (k keyPath) versions(ctx context.Context, op string, c *client) ([]string, error) {
	if k.pinned != "" {
		return []string{k.pinned}, nil
	}
	enabled, err := k.list(ctx, op, c, "state=ENABLED")
	if err != nil || len(enabled) > 0 {
		return enabled, err
	}
	all, err := k.list(ctx, op, c, "")
	if err != nil {
		return nil, err
	}
	if len(all) > 0 {
		return nil, refuse(op, capsign.KeyDisabled)
	}
	return nil, refuse(op, capsign.KeyUnknown)
}

// list returns the resource names of the key's versions that pass KMS's filter,
// oldest first.
func (k keyPath) list(ctx context.Context, op string, c *client, filter string) ([]string, error) {
	listed, err := call(ctx, op, c, func(ctx context.Context, sdk *kms.KeyManagementClient) ([]*kmspb.CryptoKeyVersion, error) {
		var out []*kmspb.CryptoKeyVersion
		pages := sdk.ListCryptoKeyVersions(ctx, &kmspb.ListCryptoKeyVersionsRequest{Parent: k.resource, Filter: filter})
		for {
			v, err := pages.Next()
			if err == iterator.Done { //nolint:errorlint // the SDK returns it bare
				return out, nil
			}
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
	})
	if err != nil {
		return nil, err
	}
	var resources []string
	numbers := make(map[string]int)
	for _, v := range listed {
		n, ok := k.number(v.GetName())
		if !ok {
			return nil, refuse(op, capsign.Integrity)
		}
		if filter != "" && v.GetState() != kmspb.CryptoKeyVersion_ENABLED {
			continue // a KMS that does not know the filter
		}
		numbers[v.GetName()] = n
		resources = append(resources, v.GetName())
	}
	slices.SortFunc(resources, func(a, b string) int { return numbers[a] - numbers[b] })
	return slices.Compact(resources), nil
}

// endpoint is where KMS is and how it is spoken to. Its zero value is Google's.
type endpoint struct {
	addr      string // host:port; empty is Google's
	plaintext bool
	tls       *tls.Config
}

// endpoint checks cfg's endpoint and reads its certificates.
func (cfg Config) endpoint() (endpoint, error) {
	out := endpoint{tls: &tls.Config{MinVersion: tls.VersionTLS12}}
	if cfg.CAFile != "" {
		pool, err := readCertificates(cfg.CAFile)
		if err != nil {
			return endpoint{}, err
		}
		out.tls.RootCAs = pool
	}
	if cfg.Endpoint == "" {
		return out, nil
	}
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return endpoint{}, capsign.ConfigInvalid
	}
	port := "443"
	switch {
	case u.Scheme == "http" && isLoopback(u.Hostname()):
		out.plaintext, port = true, "80"
	case u.Scheme != "https":
		return endpoint{}, capsign.ConfigInvalid
	}
	out.addr = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
	return out, nil
}

// readCertificates reads a PEM file of certificates.
func readCertificates(path string) (*x509.CertPool, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, capsign.ConfigInvalid
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, capsign.ConfigInvalid
	}
	return pool, nil
}

// isLoopback reports whether host is this machine's own, by its name or address.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
