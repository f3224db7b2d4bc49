package cli_test

import (
	"cmp"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/broker/embedded"
	"github.com/capsign/cap/internal/providers/software"
	"github.com/capsign/cap/internal/queue"
)

// startOperators starts a broker with pools that need an operator, until the
// test ends, and returns its URL:
//
//	gen      its worker may make key versions
//	strict   its worker may not
//	switch   a worker and nothing else; pool.txtar stops and starts it
//	sound    two versions that sign
//	broken   the newer of two versions is disabled, the older one's provider
//	         gives wrong signatures
//	halted   paused by its operator while its worker runs
//	wrongpin, locked
//	         tokens that refused their worker's PIN; no worker runs
//	nopin, barred, lost
//	         the same, and one that is gone; pool.txtar resumes them
//	throttled
//	         a cloud's quota is used up; no worker runs
//	hsm      a token whose worker is ready
//	unplugged
//	         a token that was there when its worker was
//	spare    a token's pool whose software key signs
func startOperators(t *testing.T) string {
	t.Helper()
	server := startBroker(t)
	nc := connect(t, server)
	for pool, allowed := range map[string]bool{"gen": true, "strict": false} {
		provider := newKeys(t, pool+"-key", capsign.Ed25519, 1)
		run(t, nc, queue.Config{
			Pool: pool, Provider: capsign.ProviderSoftware, Signer: provider, Keys: keysOf(t, provider),
			Versions: provider, AllowGenerate: allowed,
		})
	}
	serve(t, nc, "switch", newKeys(t, "switch-key", capsign.Ed25519, 1))
	serve(t, nc, "sound", newKeys(t, "sound-key", capsign.Ed25519, 2))
	startBroken(t, nc)
	serve(t, nc, "halted", newKeys(t, "halted-key", capsign.Ed25519, 1))
	if _, err := capsign.PausePool(t.Context(), nc, "halted"); err != nil {
		t.Fatal(err)
	}
	spare := newKeys(t, "spare-key", capsign.Ed25519, 1)
	run(t, nc, queue.Config{
		Pool: "spare", Provider: capsign.ProviderPKCS11, Signer: spare, Keys: keysOf(t, spare),
	})
	for pool, at := range map[string]deviceKey{
		"wrongpin":  {code: capsign.PINIncorrect, class: capsign.ClassToken, backend: "cap-test"},
		"nopin":     {code: capsign.PINIncorrect, class: capsign.ClassToken, backend: "cap-test"},
		"locked":    {code: capsign.TokenLocked, class: capsign.ClassChip, backend: "tpm"},
		"barred":    {code: capsign.TokenLocked, class: capsign.ClassChip, backend: "tpm"},
		"lost":      {code: capsign.TokenAbsent, class: capsign.ClassToken, backend: "cap-test"},
		"unplugged": {class: capsign.ClassToken, backend: "cap-test"},
		"throttled": {code: capsign.Throttled, provider: capsign.ProviderCloudKMS, class: capsign.ClassCloud, backend: "gcp", version: "3"},
	} {
		at.provider, at.version = cmp.Or(at.provider, capsign.ProviderPKCS11), cmp.Or(at.version, pool+"-key.2")
		announce(t, server, pool, at)
	}
	startToken(t, nc)
	return server.URL()
}

// run starts a worker that is stopped with the test.
func run(t *testing.T, nc *nats.Conn, cfg queue.Config) {
	t.Helper()
	worker := start(t, nc, cfg)
	t.Cleanup(func() { stopWorker(t, worker) })
}

// startBroken serves the pool called broken.
func startBroken(t *testing.T, nc *nats.Conn) {
	t.Helper()
	provider := newKeys(t, "broken-key", capsign.Ed25519, 2)
	keys := keysOf(t, provider)
	run(t, nc, queue.Config{
		Pool: "broken", Provider: capsign.ProviderSoftware, Keys: keys,
		Signer: faulty{provider, map[string]capsign.Code{keys[0].KID: capsign.Integrity, keys[1].KID: capsign.KeyDisabled}},
	})
}

// faulty is a provider some of whose key versions do not sign.
type faulty struct {
	*software.Provider
	codes map[string]capsign.Code // by kid
}

// Sign signs, or fails with the kid's code.
func (f faulty) Sign(ctx context.Context, kid string, msg []byte) (capsign.Signature, error) {
	if code, faulty := f.codes[kid]; faulty {
		return capsign.Signature{}, code
	}
	return f.Provider.Sign(ctx, kid, msg)
}

// startToken serves the pool called hsm.
func startToken(t *testing.T, nc *nats.Conn) {
	t.Helper()
	provider := newKeys(t, "hsm-key", capsign.Ed25519, 1)
	key, err := capsign.NewKey(capsign.Ed25519, keysOf(t, provider)[0].SPKI, capsign.ProviderPKCS11, "hsm-key")
	if err != nil {
		t.Fatal(err)
	}
	key.Class, key.Backend, key.Version = capsign.ClassToken, "cap-test", "hsm-key"
	run(t, nc, queue.Config{
		Pool: "hsm", Provider: capsign.ProviderPKCS11, Signer: token{provider, key.KID}, Keys: []capsign.Key{key},
	})
}

// token stands in for a token that holds the one version of a key.
type token struct {
	*software.Provider
	kid string
}

// CurrentKID returns the kid of the key.
func (o token) CurrentKID(context.Context) (string, error) { return o.kid, nil }

// Sign signs with the key.
func (o token) Sign(ctx context.Context, _ string, msg []byte) (capsign.Signature, error) {
	sig, err := o.Provider.Sign(ctx, "", msg)
	sig.KID = o.kid
	return sig, err
}

// deviceKey is a key that no worker of the test holds, and what its pool's
// record says: code has paused it, or none has.
type deviceKey struct {
	provider, backend, version string
	class                      capsign.Class
	code                       capsign.Code
}

// announce publishes a pool and its key.
func announce(t *testing.T, server *embedded.Server, name string, at deviceKey) {
	t.Helper()
	public := keysOf(t, newKeys(t, name+"-key", capsign.ES256, 1))[0]
	key, err := capsign.NewKey(public.Alg, public.SPKI, keyProvider(at.provider), public.Name)
	if err != nil {
		t.Fatal(err)
	}
	key.Class, key.Backend, key.Version = at.class, at.backend, at.version
	key.Pool, key.State = name, capsign.Active
	put(t, server, capsign.KeysBucket, key.KID, key)
	pool := capsign.Pool{
		V: capsign.Version, Name: name, Provider: at.provider, State: capsign.PoolReady,
		Since: time.Now().UTC().Add(-3 * time.Minute).Truncate(time.Second), Current: map[string]string{key.Name: key.KID},
	}
	if at.code != "" {
		pool.State, pool.Code = capsign.PoolPaused, at.code
	}
	put(t, server, capsign.PoolsBucket, name, pool)
}

// keyProvider returns the provider id of a pool's key: the pool's own, unless
// that is none.
func keyProvider(pools string) string {
	switch pools {
	case capsign.ProviderPKCS11, capsign.ProviderCloudKMS:
		return pools
	}
	return capsign.ProviderSoftware
}

// startRogue starts a broker on which somebody has published what moves a
// cursor, fills a screen or makes no sense, and answers so for a worker. It
// returns its URL.
func startRogue(t *testing.T) string {
	t.Helper()
	server := startBroker(t)
	idle := newKeys(t, "idle-key", capsign.Ed25519, 1)
	stopWorker(t, startWorker(t, server, "idle", idle))
	evil := "\x1b[31m\u202e\r" + strings.Repeat("漢字 evil", 5000)
	announce(t, server, "rogue", deviceKey{code: capsign.Throttled, provider: evil, class: capsign.ClassCloud, backend: evil, version: evil})
	announce(t, server, "silent", deviceKey{provider: capsign.ProviderPKCS11, class: capsign.ClassToken})
	nc := connect(t, server)
	if _, err := nc.Subscribe(capsign.AdminSubject("silent", capsign.AdminGenerate), func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	answer(t, nc, capsign.AdminSubject("rogue", capsign.AdminCheck), capsign.AdminReply{V: capsign.Version, Checks: []capsign.KeyCheck{
		{KID: evil, Code: capsign.Code(evil), Seconds: 1e308}, {KID: "\x1b[2J", Seconds: -1e308},
		{KID: keysOf(t, idle)[0].KID, Seconds: 1e308},
	}})
	answer(t, nc, capsign.AdminSubject("rogue", capsign.AdminGenerate), capsign.AdminReply{V: capsign.Version, KID: evil})
	answer(t, nc, capsign.AdminSubject("idle", capsign.AdminGenerate), capsign.AdminReply{V: capsign.Version, Code: capsign.Code(evil)})
	for _, w := range []capsign.Worker{
		{V: capsign.Version, ID: evil, State: capsign.PoolState(evil), Code: capsign.Code(evil)},
		{V: capsign.Version, ID: evil, State: capsign.PoolPaused, Code: capsign.Throttled, Since: time.Now().Add(-time.Hour)},
		{V: capsign.Version, ID: "one", State: capsign.PoolReady, Since: time.Now()},
	} {
		answer(t, nc, capsign.WorkerSubject("rogue"), w)
	}
	return server.URL()
}

// answer answers all requests on a subject with one record.
func answer(t *testing.T, nc *nats.Conn, subject string, record interface{ Encode() ([]byte, error) }) {
	t.Helper()
	data, err := record.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Subscribe(subject, func(msg *nats.Msg) { _ = msg.Respond(data) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
}
