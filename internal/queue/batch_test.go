package queue_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"

	"github.com/capsign/cap/capsign"
)

// together signs several messages at once and remembers how many.
type together struct {
	*memorySigner
	spoil func(call int, sigs []capsign.Signature) ([]capsign.Signature, error)

	mu    sync.Mutex
	calls []int
}

func (s *together) SignBatch(ctx context.Context, kid string, msgs [][]byte) ([]capsign.Signature, error) {
	s.mu.Lock()
	s.calls = append(s.calls, len(msgs))
	call := len(s.calls)
	s.mu.Unlock()
	sigs := make([]capsign.Signature, len(msgs))
	for i, msg := range msgs {
		sig, err := s.Sign(ctx, kid, msg)
		if err != nil {
			return nil, err
		}
		sigs[i] = sig
	}
	if s.spoil != nil {
		return s.spoil(call, sigs)
	}
	return sigs, nil
}

// shares returns how many messages the calls so far were for, the most first.
func (s *together) shares() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(slices.Values(s.calls), func(a, b int) int { return b - a })
}

// numbered returns n items.
func numbered(n int) [][]byte {
	items := make([][]byte, n)
	for i := range items {
		items[i] = fmt.Appendf(nil, "item %d", i)
	}
	return items
}

// answerTo has the pool's worker answer a request with these items.
func (p *pool) answerTo(t *testing.T, items [][]byte) capsign.Result {
	t.Helper()
	req := p.newRequest()
	req.Items = items
	p.publish(t, p.subject(capsign.Bulk), encode(t, req))
	return p.result(t, req.ID)
}

func TestItemsThatCanAreSignedTogether(t *testing.T) {
	for n, want := range map[int][]int{1: nil, 2: {2}, 16: {16}, 40: {20, 20}, 256: {64, 64, 64, 64}, 130: {64, 64, 2}} {
		p := newServer(t)
		signer := &together{memorySigner: p.signer}
		p.config.Signer, p.config.Parallelism = signer, 2
		p.startWorker(t)
		items := numbered(n)
		for i, outcome := range p.answerTo(t, items).Outcomes {
			if err := p.signer.key.Verify(items[i], outcome.Signature); err != nil {
				t.Errorf("item %d of %d: %v", i, n, err)
			}
		}
		if got := signer.shares(); !slices.Equal(got, want) {
			t.Errorf("%d items were signed in shares of %v, want %v", n, got, want)
		}
	}
}

// A rate counts signatures.
func TestWorkerWithARateSignsOneByOne(t *testing.T) {
	p := newServer(t)
	signer := &together{memorySigner: p.signer}
	p.config.Signer, p.config.MaxRate = signer, 1000
	p.startWorker(t)
	p.answerTo(t, numbered(20))
	if got := signer.shares(); got != nil {
		t.Errorf("signed in shares of %v", got)
	}
}

// An item that the provider refuses takes its share with it, and no other.
func TestRefusedShareReleasesNothingOfIt(t *testing.T) {
	p := newServer(t)
	p.signer.before = func(_ context.Context, _ int64, msg []byte) error {
		if string(msg) == "item 7" {
			return capsign.TooLarge
		}
		return nil
	}
	p.config.Signer, p.config.Parallelism = &together{memorySigner: p.signer}, 2
	p.startWorker(t)
	items := numbered(40)
	for i, outcome := range p.answerTo(t, items).Outcomes {
		if i < 20 {
			if outcome.Code != capsign.TooLarge || outcome.Signature != nil {
				t.Errorf("item %d: %+v, want %s", i, outcome, capsign.TooLarge)
			}
		} else if err := p.signer.key.Verify(items[i], outcome.Signature); err != nil {
			t.Errorf("item %d: %v", i, err)
		}
	}
}

func TestWrongSignatureInAShareReleasesNothing(t *testing.T) {
	for name, spoil := range map[string]func(int, []capsign.Signature) ([]capsign.Signature, error){
		"another key": func(_ int, sigs []capsign.Signature) ([]capsign.Signature, error) {
			sigs[len(sigs)-1].KID = "another"
			return sigs, nil
		},
		"another signature": func(_ int, sigs []capsign.Signature) ([]capsign.Signature, error) {
			sigs[0].Bytes[0] ^= 1
			return sigs, nil
		},
		"one too few": func(_ int, sigs []capsign.Signature) ([]capsign.Signature, error) {
			return sigs[1:], nil
		},
		"one too many": func(_ int, sigs []capsign.Signature) ([]capsign.Signature, error) {
			return append(sigs, sigs[0]), nil
		},
		"the provider's own check": func(call int, sigs []capsign.Signature) ([]capsign.Signature, error) {
			if call == 2 {
				return nil, capsign.Integrity
			}
			return sigs, nil
		},
	} {
		p := newServer(t)
		p.config.Signer, p.config.VerifySignatures = &together{memorySigner: p.signer, spoil: spoil}, true
		p.startWorker(t)
		req := p.newRequest()
		req.Items = numbered(200)
		p.publish(t, p.subject(capsign.Bulk), encode(t, req))
		eventually(t, name+": the pool is stopped", func() bool {
			pool := p.record(t)
			return pool.State == capsign.PoolPaused && pool.Code == capsign.Integrity
		})
		if n := p.messages(t, capsign.ResultsStream); n != 0 {
			t.Errorf("%s: %d results released", name, n)
		}
	}
}

func TestPanicInAShareIsARefusal(t *testing.T) {
	p := newServer(t)
	p.config.Signer = &together{memorySigner: p.signer, spoil: func(int, []capsign.Signature) ([]capsign.Signature, error) {
		panic("a bug in a provider")
	}}
	p.startWorker(t)
	for i, outcome := range p.answerTo(t, numbered(16)).Outcomes {
		if outcome.Code != capsign.Internal || outcome.Signature != nil {
			t.Errorf("item %d: %+v, want %s", i, outcome, capsign.Internal)
		}
	}
}

// One span per call says how many signatures it was for, and each of them counts.
func TestShareIsOneSpanAndCountsItsSignatures(t *testing.T) {
	recorder, reader := record(t), measured(t)
	p := newServer(t)
	p.config.Signer, p.config.Parallelism = &together{memorySigner: p.signer}, 2
	p.startWorker(t)
	client := p.client(t, capsign.ClientConfig{})
	for _, err := range client.SignAll(t.Context(), messages(40)) {
		if err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "40 signatures are counted", func() bool { return count(t, reader, "cap.provider.sign.duration") == 40 })
	var signatures int64
	for _, span := range recorder.Ended() {
		for _, attr := range span.Attributes() {
			if attr.Key == attribute.Key("cap.sign.count") {
				signatures += attr.Value.AsInt64()
			}
		}
	}
	if signatures != 40 {
		t.Errorf("the spans are for %d signatures, want 40", signatures)
	}
}
