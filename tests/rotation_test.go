package tests

import (
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/kmstest/fault"
	"github.com/capsign/cap/internal/rotation"
)

// rotationRequests is how many requests are under way while keys rotate.
const rotationRequests = 10000

// ceremony is who may change the site's keyring, and what became of it.
type ceremony struct {
	t     *testing.T
	nc    *nats.Conn
	store *rotation.Store
	root  rotation.RootSigner
	chain []*capsign.SignedKeyring
	// followed is, for each keyring of the chain, when all workers went by it;
	// zero where nobody waited for that.
	followed []time.Time
}

// newCeremony makes a root.
func newCeremony(t *testing.T) *ceremony {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	root, err := rotation.SoftwareRoot(private)
	if err != nil {
		t.Fatal(err)
	}
	return &ceremony{t: t, root: root}
}

// attend connects the ceremony to the site's broker.
func (c *ceremony) attend(s *site) {
	c.t.Helper()
	c.nc = s.connect()
	store, err := rotation.OpenStore(c.t.Context(), c.nc, 1)
	if err != nil {
		c.t.Fatal(err)
	}
	c.store = store
}

// publish signs and publishes what a change has made.
func (c *ceremony) publish(k capsign.Keyring, err error) *capsign.SignedKeyring {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	signed, err := rotation.Sign(c.t.Context(), k, c.root)
	if err == nil {
		err = c.store.Publish(c.t.Context(), signed)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.chain, c.followed = append(c.chain, signed), append(c.followed, time.Time{})
	return signed
}

// change is what every change has.
func change() rotation.Change { return rotation.Change{Reason: "test", Now: time.Now().UTC()} }

// held is the newest keyring.
func (c *ceremony) held() *capsign.SignedKeyring { return c.chain[len(c.chain)-1] }

// init publishes the first keyring, of the pool's current key.
func (c *ceremony) init() capsign.Key {
	c.t.Helper()
	key := c.key(c.current())
	roots := capsign.Roots{Threshold: 1, Keys: []capsign.RootKey{c.root.Public()}}
	c.publish(rotation.Init(roots, []capsign.KeyRotation{rotation.FirstVersion(key)}, change()))
	return key
}

// current returns the kid that the pool's record says signs.
func (c *ceremony) current() string {
	c.t.Helper()
	pools, err := capsign.FetchPools(c.t.Context(), c.nc)
	if err != nil {
		c.t.Fatal(err)
	}
	return pools["default"].Current["cap-signing"]
}

// key returns the published key version.
func (c *ceremony) key(kid string) capsign.Key {
	c.t.Helper()
	set, err := capsign.FetchKeySet(c.t.Context(), c.nc)
	if err != nil {
		c.t.Fatal(err)
	}
	key, err := set.Key(kid)
	if err != nil {
		c.t.Fatal(err)
	}
	return key
}

// apply rotates to a further version that it has a worker make.
func (c *ceremony) apply(overlap time.Duration) capsign.Key {
	c.t.Helper()
	kid, err := capsign.GenerateKey(c.t.Context(), c.nc, "default")
	if err != nil {
		c.t.Fatal(err)
	}
	key := c.key(kid)
	c.publish(rotation.Apply(c.held(), "cap-signing", capsign.VersionOf(key), time.Time{}, overlap, change()))
	return key
}

// rollback goes one stage back.
func (c *ceremony) rollback(overlap time.Duration) {
	c.t.Helper()
	c.publish(rotation.Rollback(c.held(), "cap-signing", time.Time{}, overlap, change()))
}

// awaitFollowers waits until the workers of these names go by the newest keyring.
func (c *ceremony) awaitFollowers(s *site, names ...string) {
	c.t.Helper()
	for _, name := range names {
		s.awaitLog(name, fmt.Sprintf("msg=keyring version=%d ", c.held().Keyring().Version))
	}
	c.followed[len(c.chain)-1] = time.Now()
}

// couldSign reports whether some keyring that a worker could go by let the kid
// sign or verify at some instant of a span.
func (c *ceremony) couldSign(kid string, from, to time.Time) bool {
	for i, signed := range c.chain {
		k := signed.Keyring()
		if k.Issued.After(to) || i+1 < len(c.chain) && !c.followed[i+1].IsZero() && c.followed[i+1].Before(from) {
			continue
		}
		for _, at := range []time.Time{from, to, k.Keys[0].T1.Add(-1)} {
			if at.Before(from) || at.After(to) {
				continue
			}
			if state, err := k.State(kid, at); err == nil && (state == capsign.Active || state == capsign.Accepted) {
				return true
			}
		}
	}
	return false
}

// startRotating starts workers that share keys, may make them, and believe the
// ceremony's root for maxStale. Url is where they find the broker.
func (s *site) startRotating(c *ceremony, url string, maxStale time.Duration, names ...string) {
	s.t.Helper()
	conf := filepath.Join(s.dir, "rotating.yaml")
	text := fmt.Sprintf("key:\n  provider: software\n  allow_generate: true\n  software:\n    dir: %q\nqueue:\n  bulk_ack_wait: 1s\n"+
		"keyring:\n  roots: [%s]\n  max_stale: %v\n", filepath.Join(s.dir, "keys"), c.root.Public().Fingerprint(), maxStale)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	for _, name := range names {
		s.run(name, "worker", "--config", conf, "--nats", url, "--data", filepath.Join(s.dir, "data-"+name))
		s.awaitPool()
	}
}

// TestRotationUnderLoad rotates, lets T1 pass and rolls back twice while
// requests are under way.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	site.startServer()
	c := newCeremony(t)
	site.startRotating(c, site.url(), patience, "a", "b")
	c.attend(site)
	first := c.init()
	site.awaitWorkers(2)
	released := countReleases(t, c.nc)
	var second capsign.Key
	changes := []func(){
		func() { second = c.apply(time.Second) }, // stage 2, and after T1 stage 3
		func() { c.rollback(time.Minute) },       // stage 2
		func() { c.rollback(0) },                 // stage 1
	}
	type answer struct {
		kid      string
		received time.Time
	}
	sent, answers := make([]time.Time, rotationRequests), make(map[string]answer)
	load{
		requests: rotationRequests, strikes: len(changes), window: 256,
		send: func(i int) { sent[i] = time.Now() },
		take: func(signed capsign.Signed, _ error) { answers[signed.Ref] = answer{signed.KID, time.Now()} },
		strike: func(i int) {
			changes[i]()
			c.awaitFollowers(site, "a", "b")
			if i == 0 {
				<-time.After(time.Until(c.held().Keyring().Keys[0].T1))
			}
		},
	}.run(t, c.nc)
	kids := map[string]int{}
	for i := range rotationRequests {
		a := answers[fmt.Sprint(i)]
		kids[a.kid]++
		if !c.couldSign(a.kid, sent[i], a.received) {
			t.Errorf("item %d was signed by %s while that was retired", i, a.kid)
		}
	}
	if kids[first.KID] == 0 || kids[second.KID] == 0 || len(kids) != 2 {
		t.Errorf("signed by %v", kids)
	}
	t.Logf("signed by %v", kids)
	released.check(t)
	site.checkOneResultPerRequest(rotationRequests)
	if state, err := c.held().Keyring().State(second.KID, time.Now()); err != nil || state != capsign.Retired || c.current() != first.KID {
		t.Errorf("after two rollbacks %s is %s, %v, and %s signs", second.KID, state, err, c.current())
	}
}

// TestWorkerFollowsARotation measures how long a running worker takes to sign
// with what a rotation has made active: it is told, and need not poll.
func TestWorkerFollowsARotation(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	site.startServer()
	c := newCeremony(t)
	site.startRotating(c, site.url(), patience, "a")
	c.attend(site)
	c.init()
	site.awaitWorkers(1)
	client, err := capsign.NewClient(t.Context(), c.nc, capsign.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	second := c.apply(time.Hour)
	began := time.Now()
	await(t, "signed with the new version", func() bool {
		signed, err := client.Sign(t.Context(), []byte("hello"))
		if err != nil {
			t.Fatal(err)
		}
		return signed.KID == second.KID
	})
	t.Logf("followed after %v", time.Since(began).Round(time.Millisecond))
}

// TestWorkerThatWasCutOffSignsNothingRetired cuts a worker off from its broker
// while a rotation ends, with requests waiting for it.
func TestWorkerThatWasCutOffSignsNothingRetired(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	site.startServer()
	proxy := fault.BlackHole(t, fmt.Sprintf("127.0.0.1:%d", site.port))
	c := newCeremony(t)
	site.startRotating(c, "nats://"+proxy.Addr(), 5*time.Second, "a")
	c.attend(site)
	first := c.init()
	site.awaitWorkers(1)
	second := c.apply(time.Hour)
	c.awaitFollowers(site, "a")
	c.rollback(0) // the old kid signs again
	c.awaitFollowers(site, "a")

	proxy.StallAll()
	c.publish(rotation.Apply(c.held(), "cap-signing", capsign.VersionOf(second), time.Time{}, time.Second, change()))
	client, err := capsign.NewClient(t.Context(), c.nc, capsign.ClientConfig{Pack: 1, Window: 64, Timeout: 5 * patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	time.AfterFunc(7*time.Second, func() { proxy.Resume(); proxy.Drop() }) // later than T1 and max_stale
	kids := map[string]int{}
	for signed, err := range client.SignAll(t.Context(), numbered(200)) {
		if err != nil {
			t.Errorf("item %s: %v", signed.Ref, err)
			continue
		}
		kids[signed.KID]++
	}
	if kids[first.KID] != 0 || kids[second.KID] != 200 {
		t.Errorf("signed by %v, want only %s", kids, second.KID)
	}
}
