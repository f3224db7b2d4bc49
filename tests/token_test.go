//go:build cgo

package tests

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/pkcs11/p11test"
)

// pinVariable is the environment variable that the tests' workers read PINs from.
const pinVariable = "CAP_TEST_PIN"

// tokenRequests is how many requests the token tests send.
const tokenRequests = 2000

// writeTokenConfig writes a worker's configuration for the key cap-signing on a
// token and returns its path.
func (s *site) writeTokenConfig(tok *p11test.Token) string {
	s.t.Helper()
	path := filepath.Join(s.dir, "token.yaml")
	text := fmt.Sprintf("key:\n  provider: pkcs11\n  sign_timeout: 1s\n  pkcs11:\n    module: %q\n    token_label: %q\n"+
		"    pin_env: %s\n    key_label: cap-signing\n    init_args: %q\nqueue:\n  bulk_ack_wait: 1s\n",
		tok.Module, tok.Label, pinVariable, tok.InitArgs)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// runTokenWorker starts a worker of a token's and does not wait for it.
func (s *site) runTokenWorker(name, conf string) {
	s.t.Helper()
	s.run(name, "worker", "--config", conf, "--nats", s.url(), "--data", filepath.Join(s.dir, "data-"+name))
}

// exit waits until a process ends and returns its status.
func (s *site) exit(name string) int {
	s.t.Helper()
	s.mu.Lock()
	process := s.processes[name]
	delete(s.processes, name)
	s.mu.Unlock()
	timer := time.AfterFunc(patience, func() { _ = process.Process.Kill() })
	defer timer.Stop()
	_ = process.Wait() // the status says it all
	return process.ProcessState.ExitCode()
}

// awaitState waits until the pool's record says so.
func (s *site) awaitState(state capsign.PoolState) {
	s.t.Helper()
	nc := s.connect()
	defer nc.Close()
	await(s.t, "the pool is "+string(state), func() bool {
		pools, err := capsign.FetchPools(s.t.Context(), nc)
		return err == nil && pools["default"].State == state
	})
}

// TestWrongPINCostsTheFleetOneLogin starts eight workers at once, then ten more
// one after the other, with a PIN that is wrong.
func TestWrongPINCostsTheFleetOneLogin(t *testing.T) {
	chaos := p11test.WithChaos(t, p11test.SoftHSM(t))
	chaos.Generate(t, capsign.ES256, "cap-signing", "01")
	site := newSite(t)
	site.startServer()
	conf := site.writeTokenConfig(chaos.Token)
	site.env = append(chaos.Env(), pinVariable+"="+p11test.WrongPIN)
	logins := chaos.Count(t, "C_Login")
	start := func(name string) {
		site.runTokenWorker(name, conf)
	}
	for i := range 8 {
		start(fmt.Sprint("fleet", i))
	}
	for i := range 8 {
		if status := site.exit(fmt.Sprint("fleet", i)); status != 5 {
			t.Errorf("worker %d exits with %d, want 5", i, status)
		}
	}
	for i := range 10 {
		start("again")
		if status := site.exit("again"); status != 5 {
			t.Errorf("restart %d exits with %d, want 5", i, status)
		}
	}
	if n := chaos.Count(t, "C_Login") - logins; n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	if _, errs, status := site.sign(); status != 5 || !strings.Contains(errs, "pin_incorrect") {
		t.Errorf("cap keys sign: status %d: %s", status, errs)
	}

	if out, errs, status := runCap(t, site.dir, "pool", "resume", "default", "--nats", site.url()); status != 0 {
		t.Fatalf("cap pool resume: status %d: %s%s", status, out, errs)
	}
	site.env = append(chaos.Env(), pinVariable+"="+chaos.PIN)
	start("right")
	site.awaitWorkers(1)
	if _, errs, status := site.sign(); status != 0 {
		t.Errorf("after the resume: status %d: %s", status, errs)
	}
	site.mustKeepSilent(p11test.WrongPIN, chaos.PIN, "CKR_")
}

// sign has the cap command sign a message through the site's pool.
func (s *site) sign() (stdout, stderr string, status int) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "msg"), []byte("hello"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(s.dir, "sig")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	return runCap(s.t, s.dir, "keys", "sign", "--in", "msg", "--out", "sig", "--nats", s.url())
}

// mustKeepSilent says that no process of the site's wrote any of the texts.
func (s *site) mustKeepSilent(texts ...string) {
	s.t.Helper()
	logs, err := filepath.Glob(filepath.Join(s.dir, "*.log"))
	if err != nil || len(logs) == 0 {
		s.t.Fatalf("no logs: %v", err)
	}
	for _, path := range logs {
		log, err := os.ReadFile(path)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, text := range texts {
			if strings.Contains(string(log), text) {
				s.t.Errorf("%s contains %q", filepath.Base(path), text)
			}
		}
	}
}

// TestTokenThatBreaksLosesNothing breaks a token behind a socket in the middle
// of a load: its server is killed and started again, and frozen for so long
// that the worker replaces itself.
func TestTokenThatBreaksLosesNothing(t *testing.T) {
	token := p11test.SoftHSM(t)
	token.Generate(t, capsign.ES256, "cap-signing", "01")
	remote := p11test.P11Kit(t, token)
	site := newSite(t)
	site.startServer()
	site.env = append(remote.Env(), pinVariable+"="+remote.PIN)
	site.runTokenWorker("a", site.writeTokenConfig(remote.Token))
	site.awaitWorkers(1)
	outlives(t, site, []breakage{
		{"killed", remote.Kill, remote.Restart, 2 * time.Second},
		{"frozen", remote.Stop, remote.Cont, 6 * time.Second},
		{"restarted", remote.Kill, remote.Restart, 0},
	})
	log, err := os.ReadFile(filepath.Join(site.dir, "a.log"))
	if err != nil || !strings.Contains(string(log), "starting anew") {
		t.Errorf("the worker with a hung module was not replaced: %v", err)
	}
}

// TestModuleThatHangsLosesNothing has calls into the module hang and then
// return, and fail as a token's that was pulled out.
func TestModuleThatHangsLosesNothing(t *testing.T) {
	chaos := p11test.WithChaos(t, p11test.SoftHSM(t))
	chaos.Generate(t, capsign.Ed25519, "cap-signing", "01")
	site := newSite(t)
	site.startServer()
	site.env = append(chaos.Env(), pinVariable+"="+chaos.PIN)
	site.runTokenWorker("a", site.writeTokenConfig(chaos.Token))
	site.awaitWorkers(1)
	rule := func(rule string) func(testing.TB) {
		return func(t testing.TB) { t.Helper(); chaos.Rule(t, rule) }
	}
	outlives(t, site, []breakage{
		{"short hang", rule("C_Sign hang"), chaos.Clear, 500 * time.Millisecond},
		{"long hang", rule("C_Sign hang"), chaos.Clear, 5 * time.Second},
		{"pulled out", rule("any rv=0x32"), chaos.Clear, 2 * time.Second},
		{"device errors", rule("C_Sign rv=0x30 count=40"), chaos.Clear, time.Second},
	})
}

// breakage is one way to break a token for a while.
type breakage struct {
	name       string
	begin, end func(testing.TB)
	lasts      time.Duration
}

// outlives signs tokenRequests messages while the token breaks in one way after
// the other. All must be signed once, and signing must go on after each.
func outlives(t *testing.T, site *site, breakages []breakage) {
	t.Helper()
	nc := site.connect()
	released := countReleases(t, nc)
	var signed atomic.Int64
	l := load{requests: tokenRequests, strikes: len(breakages), window: 32}
	l.take = func(capsign.Signed, error) { signed.Add(1) }
	l.strike = func(i int) {
		b := breakages[i]
		b.begin(t)
		<-time.After(b.lasts)
		b.end(t)
		before, back := signed.Load(), time.Now()
		all := int64((i + 1) * l.share())
		await(t, "signing again after "+b.name, func() bool { return signed.Load() > before || before == all })
		t.Logf("%s for %v: signing went on after %v", b.name, b.lasts, time.Since(back).Round(time.Millisecond))
	}
	l.run(t, nc)
	released.check(t)
	site.checkOneResultPerRequest(tokenRequests)
	site.checkAudit(tokenRequests)
}

// TestSameMaterialSameKID imports one key under one label into two tokens.
func TestSameMaterialSameKID(t *testing.T) {
	private := p256PEM(t)
	var kids []string
	for range 2 {
		token := p11test.SoftHSM(t)
		token.Import(t, private, "cap-signing", "01")
		site := newSite(t)
		site.startServer()
		site.env = append(token.Env(), pinVariable+"="+token.PIN)
		site.runTokenWorker("a", site.writeTokenConfig(token))
		site.awaitWorkers(1)
		pools, err := capsign.FetchPools(t.Context(), site.connect())
		if err != nil {
			t.Fatal(err)
		}
		kids = append(kids, pools["default"].Current["cap-signing"])
	}
	if kids[0] == "" || kids[0] != kids[1] {
		t.Errorf("kids %q", kids)
	}
}

// p256PEM returns a new P-256 private key as PKCS#8.
func p256PEM(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// TestFallbackSignsUnderItsOwnKID takes a token away from a worker that may sign
// with a software key meanwhile.
func TestFallbackSignsUnderItsOwnKID(t *testing.T) {
	chaos := p11test.WithChaos(t, p11test.SoftHSM(t))
	s := newFallbackSite(t, chaos)
	own := s.signedBy()
	chaos.Rule(t, "any rv=0x32")
	var spare string
	await(t, "signed by the fallback", func() bool { spare = s.signedBy(); return spare != "" && spare != own })
	out, _, _ := runCap(t, s.dir, "keys", "info", "--nats", s.url())
	if !strings.Contains(out, "FALLBACK") || !strings.Contains(out, spare) {
		t.Errorf("cap keys info does not say that a fallback signs:\n%s", out)
	}
	chaos.Clear(t)
	await(t, "signed by the token", func() bool { return s.signedBy() == own })
	log, err := os.ReadFile(filepath.Join(s.dir, "a.log"))
	if err != nil || !strings.Contains(string(log), "SOFTWARE KEY signs instead") {
		t.Errorf("the log does not say that a fallback signed: %v\n%s", err, log)
	}
}

// newFallbackSite starts a broker and a worker, named a, of a key on the token
// with a software key behind it.
func newFallbackSite(t *testing.T, chaos *p11test.Chaos) *site {
	t.Helper()
	chaos.Generate(t, capsign.ES256, "cap-signing", "01")
	s := newSite(t)
	s.startServer()
	s.env = append(chaos.Env(), pinVariable+"="+chaos.PIN)
	conf := s.writeTokenConfig(chaos.Token)
	text, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), "key:\n", "key:\n  fallback: software\n", 1))
	if err := os.WriteFile(conf, text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.runTokenWorker("a", conf)
	s.awaitWorkers(1)
	return s
}

// signedBy signs a message and returns the kid that did, or "".
func (s *site) signedBy() string {
	s.t.Helper()
	_, errs, status := s.sign()
	if status != 0 {
		return ""
	}
	_, kid, _ := strings.Cut(errs, "kid: ")
	return strings.TrimSpace(kid)
}

// TestWorkerWithAHungModuleCanBeStopped asks a worker to stop whose module hangs
// at every start.
func TestWorkerWithAHungModuleCanBeStopped(t *testing.T) {
	token := p11test.SoftHSM(t)
	token.Generate(t, capsign.ES256, "cap-signing", "01")
	remote := p11test.P11Kit(t, token)
	s := newSite(t)
	s.startServer()
	s.env = append(remote.Env(), pinVariable+"="+remote.PIN)
	remote.Stop(t)
	t.Cleanup(func() { remote.Cont(t) })
	s.runTokenWorker("a", s.writeTokenConfig(remote.Token))
	s.awaitLog("a", "starting anew")
	if err := s.processes["a"].Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status := s.exit("a"); status != 0 && status != capsign.ProviderHung.ExitStatus() { // -1 where it had to be killed
		t.Errorf("ended with %d", status)
	}
}

// TestFallbackDoesNotSignWhatAKeyringNames takes the token away from such a
// worker once its key is in a keyring.
func TestFallbackDoesNotSignWhatAKeyringNames(t *testing.T) {
	chaos := p11test.WithChaos(t, p11test.SoftHSM(t))
	s := newFallbackSite(t, chaos)
	c := newCeremony(t)
	c.attend(s)
	c.init()
	c.awaitFollowers(s, "a")
	chaos.Rule(t, "any rv=0x32")
	s.mustBeTold(capsign.TokenAbsent)
	chaos.Clear(t)
	s.mustSignAgain()
}
