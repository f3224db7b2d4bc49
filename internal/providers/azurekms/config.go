package azurekms

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/capsign/cap/capsign"
)

// defaultCallTimeout bounds a call whose context has no deadline.
const defaultCallTimeout = 5 * time.Second

// latest is what Config.Version says for all versions, as empty does.
const latest = "latest"

// Config says which key of which vault signs.
type Config struct {
	// VaultURL is the vault or Managed HSM, such as
	// https://my-vault.vault.azure.net, by the name that Azure knows it by: its
	// certificate, its key ids and the resource that tokens are for must be of
	// that name. It has no port and no path.
	VaultURL string
	// Endpoint is the URL of the address that is dialled instead of VaultURL's,
	// such as that of a private endpoint that DNS does not know. Only its host
	// and port matter; whoever answers there must prove to be VaultURL's host.
	// No proxy is used then. Empty means VaultURL.
	Endpoint string
	// CAFile is a PEM file of the certificates that are trusted instead of the
	// system's, for the vault and for Entra; empty means the system's.
	CAFile string
	// Key is the key's name in the vault.
	Key string
	// Version is the one version to hold, 32 hexadecimal digits; empty or
	// "latest" means all that are enabled and valid now, the newest current.
	Version string
	// KeyName is the key's logical name, which goes into the kid. It must pass
	// capsign.CheckKeyName.
	KeyName string
	// Alg is the algorithm of a generated key, and which of PS256 and RS256 an
	// RSA key signs with. Empty means that of the newest version, or ES256, for
	// a generated key, and PS256 for RSA. EC keys have one algorithm whatever it
	// says. Azure has no Ed25519, which wraps [capsign.UnsupportedAlg].
	Alg capsign.Alg
	// CallTimeout bounds a call whose context has no deadline, tries and all;
	// zero is 5 s.
	CallTimeout time.Duration
	// Log gets a line when connections are given up; nil discards it.
	Log *slog.Logger
	// Credential gets the tokens; nil is azidentity's DefaultAzureCredential,
	// which the AZURE_* variables and the machine's identity decide.
	Credential azcore.TokenCredential

	// now is the clock that versions become valid and expire by; nil is
	// time.Now. Tests set it.
	now func() time.Time
}

// algs are the algorithms that Azure and cap have in common.
var algs = []capsign.Alg{capsign.ES256, capsign.ES384, capsign.PS256, capsign.RS256}

var (
	keyForm     = regexp.MustCompile(`^[0-9A-Za-z-]{1,127}$`)
	versionForm = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// ConfigFor returns the configuration of the key that id names, such as
// https://my-vault.vault.azure.net/keys/cap-signer/0123456789abcdef0123456789abcdef;
// without the last part it is that of all versions. The key's name is its
// logical name too. Another form wraps [capsign.ConfigInvalid].
func ConfigFor(id string) (Config, error) {
	u, err := url.Parse(id)
	if err != nil {
		return Config{}, refuse("key id", capsign.ConfigInvalid)
	}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	if len(parts) == 2 {
		parts = append(parts, "")
	}
	if len(parts) != 3 || parts[0] != "keys" {
		return Config{}, refuse("key id", capsign.ConfigInvalid)
	}
	cfg := Config{VaultURL: u.Scheme + "://" + u.Host, Key: parts[1], Version: parts[2], KeyName: parts[1]}
	return cfg, cfg.check("key id")
}

// check refuses what cannot be a configuration.
func (cfg Config) check(op string) error {
	if cfg.Alg != "" && !slices.Contains(algs, cfg.Alg) {
		return refuse(op, capsign.UnsupportedAlg)
	}
	vault, err := httpsURL(cfg.VaultURL)
	if err != nil || vault.Port() != "" ||
		!keyForm.MatchString(cfg.Key) ||
		cfg.version() != "" && !versionForm.MatchString(cfg.Version) ||
		capsign.CheckKeyName(cfg.KeyName) != nil {
		return refuse(op, capsign.ConfigInvalid)
	}
	if _, err := httpsURL(cmp.Or(cfg.Endpoint, cfg.VaultURL)); err != nil {
		return refuse(op, capsign.ConfigInvalid)
	}
	return nil
}

// httpsURL parses the URL of a server: https, because a token goes there, and
// nothing behind the host.
func httpsURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("not the URL of an https server")
	}
	return u, nil
}

// version returns the one version to hold; empty is all.
func (cfg Config) version() string {
	if cfg.Version == latest {
		return ""
	}
	return cfg.Version
}

// host returns the vault's host. The configuration is checked already.
func (cfg Config) host() string {
	u, _ := httpsURL(cfg.VaultURL)
	return strings.ToLower(u.Host)
}

// roots returns the certificates that are trusted; nil is the system's.
func (cfg Config) roots(op string) (*x509.CertPool, error) {
	if cfg.CAFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(cfg.CAFile)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(text) {
		return nil, refuse(op, capsign.ConfigInvalid)
	}
	return pool, nil
}

// clock returns what tells the time.
func (cfg Config) clock() func() time.Time {
	if cfg.now != nil {
		return cfg.now
	}
	return time.Now
}
