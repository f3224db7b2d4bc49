// Package registry signs artifacts in OCI registries and verifies them. A
// signature is a sigstore bundle, attached to the artifact's manifest in the
// shape in which cosign v3 writes and finds it: a referrer (OCI 1.1), listed
// under the fallback tag sha256-<hex> where the registry has no referrers API.
package registry

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/retry"

	"github.com/capsign/cap/capsign"
)

// Config says how registries are reached. The zero value has the credentials of
// docker's configuration.
type Config struct {
	// Timeout bounds the work on one artifact; zero means one minute.
	Timeout time.Duration
	// Jobs is the most artifacts that [Client.SignMany] works on at once; zero
	// means 8.
	Jobs int
	// DockerConfig is the path of a docker configuration, which may name
	// credential helpers; empty means docker's own place for it, DOCKER_CONFIG
	// included. There need not be one.
	DockerConfig string
	// Transport carries the requests; nil means [http.DefaultTransport].
	Transport http.RoundTripper
}

// Client signs and verifies artifacts. It is safe for concurrent use.
type Client struct {
	cfg  Config
	http *auth.Client

	mu    sync.Mutex
	repos map[string]*remote.Repository // by host and path
	locks map[string]chan struct{}      // held while an artifact is signed, by host, path and digest
}

// New returns a client. It wraps [capsign.ConfigInvalid] where docker's
// configuration cannot be read.
func New(cfg Config) (*Client, error) {
	cfg.Timeout = cmp.Or(cfg.Timeout, time.Minute)
	cfg.Jobs = cmp.Or(cfg.Jobs, 8)
	if cfg.Transport == nil {
		cfg.Transport = http.DefaultTransport
	}
	store, err := openStore(cfg.DockerConfig)
	if err != nil {
		return nil, failed("docker configuration", capsign.ConfigInvalid)
	}
	client := &auth.Client{
		Client:     &http.Client{Transport: retry.NewTransport(guarded{cfg.Transport})},
		Cache:      auth.NewCache(),
		Credential: credentials.Credential(store),
	}
	client.SetUserAgent("cap")
	return &Client{cfg: cfg, http: client, repos: make(map[string]*remote.Repository), locks: make(map[string]chan struct{})}, nil
}

// openStore opens docker's credentials, for reading.
func openStore(path string) (credentials.Store, error) {
	if path != "" {
		return credentials.NewStore(path, credentials.StoreOptions{})
	}
	return credentials.NewStoreFromDocker(credentials.StoreOptions{})
}

// artifact is what a reference leads to.
type artifact struct {
	repo *remote.Repository
	name string // host and path
	ref  string // tag or digest
}

// parse reads a reference: HOST/PATH with a tag or a digest, both spelled out,
// as there is no registry and no tag that everybody means.
func (c *Client) parse(ref string) (artifact, error) {
	parsed, err := registry.ParseReference(ref)
	if err != nil || parsed.Reference == "" || strings.Contains(parsed.Reference, ":") && !strings.HasPrefix(parsed.Reference, "sha256:") {
		return artifact{}, failed("reference", capsign.BadRequest)
	}
	name := parsed.Registry + "/" + parsed.Repository
	return artifact{repo: c.repository(name, parsed), name: name, ref: parsed.Reference}, nil
}

// repository returns the one client of a repository: it remembers whether there
// is a referrers API, and merges changes of one fallback tag.
func (c *Client) repository(name string, ref registry.Reference) *remote.Repository {
	c.mu.Lock()
	defer c.mu.Unlock()
	if repo, known := c.repos[name]; known {
		return repo
	}
	ref.Reference = ""
	repo := &remote.Repository{
		Client: c.http, Reference: ref, PlainHTTP: isLoopback(ref.Host()),
		ReferrerListMaxPages: maxPages,
		SkipReferrersGC:      true, // few registries let a publisher delete
	}
	c.repos[name] = repo
	return repo
}

// lock waits until nobody else signs an artifact, and returns what ends that.
// Two tags of one artifact would otherwise get a signature each.
func (c *Client) lock(ctx context.Context, artifact string) (unlock func(), err error) {
	c.mu.Lock()
	held, known := c.locks[artifact]
	if !known {
		held = make(chan struct{}, 1)
		c.locks[artifact] = held
	}
	c.mu.Unlock()
	select {
	case held <- struct{}{}:
		return func() { <-held }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
