package gcpkms

import (
	"cmp"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"time"

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

// The forms of the parts of a resource name, of at most maxPart bytes. A part
// with a slash in it would name another resource.
var (
	projectForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]*$`)
	locationForm = regexp.MustCompile(`^[a-z0-9-]+$`)
	idForm       = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	versionForm  = regexp.MustCompile(`^[1-9][0-9]*$`)
)

// maxPart is the longest part of a resource name, in bytes.
const maxPart = 63

// fits reports whether a part of a resource name has its form.
func fits(form *regexp.Regexp, part string) bool {
	return len(part) <= maxPart && form.MatchString(part)
}

// keyPath is a CryptoKey under its two names.
type keyPath struct {
	resource string // projects/…/cryptoKeys/…
	name     string // the logical one
	pinned   string // the one version's resource name; empty for all
}

// keyPath checks cfg's names.
func (cfg Config) keyPath(op string) (keyPath, error) {
	location := cmp.Or(cfg.Location, "global")
	if !fits(projectForm, cfg.Project) || !fits(locationForm, location) || !fits(idForm, cfg.KeyRing) ||
		!fits(idForm, cfg.Key) || capsign.CheckKeyName(cfg.KeyName) != nil {
		return keyPath{}, refuse(op, capsign.ConfigInvalid)
	}
	key := keyPath{
		resource: "projects/" + cfg.Project + "/locations/" + location + "/keyRings/" + cfg.KeyRing + "/cryptoKeys/" + cfg.Key,
		name:     cfg.KeyName,
	}
	if version := cmp.Or(cfg.Version, latest); version != latest {
		key.pinned = key.versionPrefix() + version
		if _, ok := key.number(key.pinned); !ok {
			return keyPath{}, refuse(op, capsign.ConfigInvalid)
		}
	}
	return key, nil
}

// versionPrefix is what the resource names of all the key's versions begin with.
func (k keyPath) versionPrefix() string { return k.resource + "/cryptoKeyVersions/" }

// number returns the number of the version with this resource name, if it is one
// of the key's.
func (k keyPath) number(resource string) (int, bool) {
	text, ok := strings.CutPrefix(resource, k.versionPrefix())
	if !ok || !fits(versionForm, text) {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}
