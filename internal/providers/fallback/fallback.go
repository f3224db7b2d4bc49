// Package fallback signs with another provider's key while the one it stands in
// for is away. It does so only where a configuration names it, and never in
// secret: the other key has a kid of its own, which is the current one
// meanwhile, and every change is logged and counted.
package fallback

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers"
)

var (
	_ providers.Provider  = (*Provider)(nil)
	_ providers.Generator = (*Provider)(nil)
)

const (
	// lookEvery is how often a provider that is away is looked for.
	lookEvery = time.Second
	// lookTime bounds one look.
	lookTime = 5 * time.Second
)

// Open opens a provider: at first, and again until that succeeds.
type Open func(ctx context.Context) (providers.Provider, error)

// Provider is a main provider with a spare one behind it.
type Provider struct {
	open    Open
	id      string
	spare   providers.Provider
	log     *slog.Logger
	active  metric.Int64Gauge
	changed chan struct{}
	doubt   chan struct{} // asks for a look at a provider that is not known to be away

	end     context.CancelFunc
	looking sync.WaitGroup

	mu   sync.Mutex
	main providers.Provider // nil until it could be opened
	away error              // why the spare signs; nil while main does
}

// New opens the main provider, of class id, and puts spare behind it. A main
// provider that is away, by a code of the fate held, is replaced by spare at
// once; any other error of open's is returned. The spare is New's to close.
func New(ctx context.Context, id string, open Open, spare providers.Provider, log *slog.Logger) (*Provider, error) {
	p := &Provider{open: open, id: id, spare: spare, log: log, changed: make(chan struct{}, 1), doubt: make(chan struct{}, 1)}
	// The API documents that an instrument comes back usable beside an error.
	p.active, _ = otel.Meter("github.com/capsign/cap/internal/providers/fallback").Int64Gauge("cap.provider.fallback",
		metric.WithDescription("1 while the fallback key signs, 0 while the provider's own does."))
	care, end := context.WithCancel(context.WithoutCancel(ctx))
	p.end = end
	main, err := open(ctx)
	switch {
	case err == nil:
		p.main = main
		p.active.Record(ctx, 0)
	case isAway(err):
		p.leave(care, err)
	default:
		end()
		return nil, errors.Join(err, spare.Close())
	}
	p.looking.Go(func() { p.look(care) })
	return p, nil
}

// isAway reports whether err is a reason to sign with the spare. A wrong PIN, a
// locked token and a wrong signature are none: they are for an operator.
func isAway(err error) bool { return capsign.CodeOf(err).Fate() == capsign.FateHeld }

// Changed returns a channel that gets a value when the current key, or the list
// of keys, has become another.
func (p *Provider) Changed() <-chan struct{} { return p.changed }

// ProviderID returns the main provider's.
func (p *Provider) ProviderID() string { return p.id }

// CurrentKID returns the main provider's, or the spare's while it is away.
func (p *Provider) CurrentKID(ctx context.Context) (string, error) {
	main, away := p.state()
	if away != nil {
		return p.spare.CurrentKID(ctx)
	}
	return main.CurrentKID(ctx)
}

// ListKIDs returns the spare's kids and then the main provider's.
func (p *Provider) ListKIDs(ctx context.Context) ([]string, error) {
	kids, err := p.spare.ListKIDs(ctx)
	if err != nil {
		return nil, err
	}
	main, _ := p.state()
	if main == nil {
		return kids, nil
	}
	own, err := main.ListKIDs(ctx)
	if err != nil {
		return nil, err
	}
	return append(kids, own...), nil
}

// PublicKey returns the key version of either provider that kid names.
func (p *Provider) PublicKey(ctx context.Context, kid string) (capsign.Key, error) {
	if key, err := p.spare.PublicKey(ctx, kid); err == nil {
		return key, nil
	}
	main, away := p.state()
	if main == nil {
		return capsign.Key{}, away
	}
	return main.PublicKey(ctx, kid)
}

// Sign signs with the key version of either provider that kid names. Where the
// main one turns out to be away, its error is returned, and from then on the
// spare's key is the current one.
func (p *Provider) Sign(ctx context.Context, kid string, msg []byte) (capsign.Signature, error) {
	main, away := p.state()
	if kid == "" && away != nil {
		return p.spare.Sign(ctx, "", msg)
	}
	if kid != "" {
		if _, err := p.spare.PublicKey(ctx, kid); err == nil {
			return p.spare.Sign(ctx, kid, msg)
		}
	}
	if away != nil {
		return capsign.Signature{}, away
	}
	sig, err := main.Sign(ctx, kid, msg)
	switch {
	case err == nil || !isAway(err):
	case ctx.Err() == nil:
		p.leave(ctx, err)
	default: // perhaps it was only this caller that had little time
		notify(p.doubt)
	}
	return sig, err
}

// Generate makes a further version of the main provider's key.
func (p *Provider) Generate(ctx context.Context) (kid string, err error) {
	generator, err := p.generator()
	if err != nil {
		return "", err
	}
	return generator.Generate(ctx)
}

// Reload looks for further versions of the main provider's key.
func (p *Provider) Reload(ctx context.Context) error {
	generator, err := p.generator()
	if err != nil {
		return err
	}
	return generator.Reload(ctx)
}

// generator returns the main provider as what makes keys.
func (p *Provider) generator() (providers.Generator, error) {
	main, away := p.state()
	if away != nil {
		return nil, away
	}
	generator, ok := main.(providers.Generator)
	if !ok {
		return nil, fmt.Errorf("fallback: generate: %w", capsign.Denied)
	}
	return generator, nil
}

// Close closes both providers.
func (p *Provider) Close() error {
	p.end()
	p.looking.Wait()
	err := p.spare.Close()
	if main, _ := p.state(); main != nil {
		err = errors.Join(err, main.Close())
	}
	return err
}

// state returns the main provider, nil if it was never open, and why it is
// away, nil if it is not.
func (p *Provider) state() (providers.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.main, p.away
}

// leave makes the spare's key the current one.
func (p *Provider) leave(ctx context.Context, err error) {
	p.mu.Lock()
	first := p.away == nil
	p.away = err
	p.mu.Unlock()
	if first {
		p.active.Record(ctx, 1)
		p.log.WarnContext(ctx, "the provider is away: a SOFTWARE KEY signs instead", "provider", p.id, "code", string(capsign.CodeOf(err)))
		notify(p.changed)
	}
}

// notify puts a value into a channel that holds one, unless it is there.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// look goes on looking for a provider that is away, and at one in doubt.
func (p *Provider) look(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if main, away := p.state(); away != nil {
				p.find(ctx, main)
			}
		case <-p.doubt:
			if main, away := p.state(); away == nil {
				if err := canary(ctx, main); err != nil && isAway(err) {
					p.leave(ctx, err)
				}
			}
		}
	}
}

// find makes the main provider sign something and, if it does, its key the
// current one again.
func (p *Provider) find(ctx context.Context, main providers.Provider) {
	if main == nil {
		bounded, cancel := context.WithTimeout(ctx, lookTime)
		defer cancel()
		opened, err := p.open(bounded)
		if err != nil {
			return
		}
		main = opened
	}
	err := canary(ctx, main)
	p.mu.Lock()
	p.main = main
	if err == nil {
		p.away = nil
	}
	p.mu.Unlock()
	if err == nil {
		p.active.Record(ctx, 0)
		p.log.WarnContext(ctx, "the provider is back and signs again", "provider", p.id)
		notify(p.changed)
	}
}

// canary has a provider sign something that says only what it is.
func canary(ctx context.Context, provider providers.Provider) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	_, err := provider.Sign(ctx, "", []byte("cap canary "+rand.Text()))
	return err
}
