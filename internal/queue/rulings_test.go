package queue_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

// decree is rulings that a test makes.
type decree struct {
	mu      sync.Mutex
	active  string
	err     error
	refused map[string]capsign.Code
	changed chan struct{}
}

func newDecree() *decree {
	return &decree{refused: map[string]capsign.Code{}, changed: make(chan struct{}, 1)}
}

// set changes the rulings and says so.
func (d *decree) set(change func()) {
	d.mu.Lock()
	change()
	d.mu.Unlock()
	d.changed <- struct{}{}
}

func (d *decree) Active(string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.active, d.err
}

func (d *decree) MaySign(_, kid string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if code := d.refused[kid]; code != "" {
		return code
	}
	return d.err
}

func (d *decree) State(_, kid string) capsign.State {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refused[kid] == capsign.KeyRetired {
		return capsign.Retired
	}
	return capsign.Accepted
}

func (d *decree) Changed() <-chan struct{} { return d.changed }

// newRuledPool starts a worker with two key versions under a decree.
func newRuledPool(t *testing.T) (p *pool, d *decree, second *memorySigner) {
	t.Helper()
	p, d, second = newServer(t), newDecree(), newMemorySigner(t, "cap-signing")
	g := &growing{p.signer, &backend{versions: []*memorySigner{second}}, new(sync.Map)}
	if err := g.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.config.Signer, p.config.Versions, p.config.Rulings = g, g, d
	p.config.Keys = append(p.config.Keys, second.key)
	p.startWorker(t)
	return p, d, second
}

func TestRulingsDecideWhatSigns(t *testing.T) {
	p, d, second := newRuledPool(t)
	client := p.client(t, capsign.ClientConfig{})
	first := p.signer.key.KID
	mustBy := func(want string) {
		t.Helper()
		if signed, err := client.Sign(t.Context(), []byte("hello")); err != nil || signed.KID != want {
			t.Errorf("signed by %s, %v; want %s", signed.KID, err, want)
		}
	}
	mustBy(first)
	d.set(func() { d.active, d.refused[first] = second.key.KID, capsign.KeyRetired })
	mustBy(second.key.KID)
	eventually(t, "the published keys follow", func() bool {
		set, err := capsign.FetchKeySet(t.Context(), p.nc)
		if err != nil {
			return false
		}
		key, err := set.Key(first)
		return err == nil && key.State == capsign.Retired && p.record(t).Current["cap-signing"] == second.key.KID
	})
	for code := range map[capsign.Code]bool{capsign.KeyRetired: true, capsign.KeyRevoked: true, capsign.Denied: true} {
		d.set(func() { d.refused[first] = code })
		_, err := p.client(t, capsign.ClientConfig{KID: first}).Sign(t.Context(), []byte("hello"))
		if !errors.Is(err, code) {
			t.Errorf("a refused kid: %v, want %s", err, code)
		}
	}
}

// A signature that was begun while its key was active is not released after the
// key has been retired.
func TestRetiredWhileSigningIsNotReleased(t *testing.T) {
	p, d, second := newRuledPool(t)
	first := p.signer.key.KID
	var once sync.Once
	p.signer.before = func(context.Context, int64, []byte) error {
		once.Do(func() { d.set(func() { d.active, d.refused[first] = second.key.KID, capsign.KeyRetired }) })
		return nil
	}
	signed, err := p.client(t, capsign.ClientConfig{}).Sign(t.Context(), []byte("hello"))
	if err != nil || signed.KID != second.key.KID {
		t.Errorf("signed by %s, %v; want %s", signed.KID, err, second.key.KID)
	}
}

func TestWhatTheRulingsCannotSayIsNotSigned(t *testing.T) {
	for _, code := range []capsign.Code{capsign.KeyringStale, capsign.KeyringMissing, capsign.KeyringExpired} {
		t.Run(string(code), func(t *testing.T) {
			p, d, _ := newRuledPool(t)
			d.set(func() { d.err = code })
			if err := p.signs(t); !errors.Is(err, code) {
				t.Errorf("error %v, want %s", err, code)
			}
			if n := p.signer.signed.Load(); n != 0 {
				t.Errorf("%d signatures", n)
			}
			d.set(func() { d.err = nil })
			eventually(t, "the pool is ready", func() bool { return p.record(t).State == capsign.PoolReady })
			if err := p.signs(t); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestActiveKeyThatIsNotHeldPausesThePool(t *testing.T) {
	p, d, _ := newRuledPool(t)
	third := newMemorySigner(t, "cap-signing")
	d.set(func() { d.active = third.key.KID })
	if err := p.signs(t); !errors.Is(err, capsign.KeyNotHeld) {
		t.Errorf("error %v, want %s", err, capsign.KeyNotHeld)
	}
	g, ok := p.config.Versions.(*growing)
	if !ok {
		t.Fatal("no growing signer")
	}
	g.backend.add(third)
	eventually(t, "the version was found", func() bool { return p.signs(t) == nil })
}

func TestKeyringsAreForRootsAlone(t *testing.T) {
	keyring := capsign.DSSEPAE(capsign.KeyringPayloadType, []byte(`{"v":1}`))
	for root, denied := range map[bool][]byte{false: keyring, true: []byte("hello")} {
		p := newServer(t)
		p.config.Root = root
		p.startWorker(t)
		client := p.client(t, capsign.ClientConfig{})
		allowed := map[bool][]byte{false: []byte("hello"), true: keyring}[root]
		if _, err := client.Sign(t.Context(), allowed); err != nil {
			t.Errorf("root %v: %v", root, err)
		}
		if _, err := client.Sign(t.Context(), denied); !errors.Is(err, capsign.Denied) {
			t.Errorf("root %v: %v, want %s", root, err, capsign.Denied)
		}
	}
}

// A request that was given little time is no reason to doubt the provider.
func TestRequestOutOfTimePausesNothing(t *testing.T) {
	p := newServer(t)
	p.signer.before = func(ctx context.Context, _ int64, msg []byte) error {
		if string(msg) == "slow" {
			<-ctx.Done()
			return capsign.ProviderTimeout
		}
		return nil
	}
	p.startWorker(t)
	req := p.newRequest()
	req.Items, req.Expires = [][]byte{[]byte("slow")}, time.Now().Add(300*time.Millisecond).UTC()
	p.publish(t, p.subject(capsign.Express), encode(t, req))
	p.result(t, req.ID)
	if n := p.signer.signed.Load(); n != 1 {
		t.Errorf("the provider was asked %d times, want once", n)
	}
}
