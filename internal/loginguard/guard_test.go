package loginguard_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/broker/embedded"
	"github.com/capsign/cap/internal/loginguard"
)

const token = "cap-test 0000000000000000/é"

// newBroker starts a server that ends with the test.
func newBroker(t *testing.T) *embedded.Server {
	t.Helper()
	server, err := embedded.Start(embedded.Options{StoreDir: t.TempDir(), LazySync: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

// newGuard returns a guard with a connection of its own.
func newGuard(t *testing.T, server *embedded.Server, pool string) (*loginguard.Guard, *nats.Conn) {
	t.Helper()
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	guard, err := loginguard.New(t.Context(), nc, pool, 1)
	if err != nil {
		t.Fatal(err)
	}
	return guard, nc
}

func TestOneWrongPINCostsOneLogin(t *testing.T) {
	for _, code := range []capsign.Code{capsign.PINIncorrect, capsign.TokenLocked} {
		server := newBroker(t)
		var logins atomic.Int64
		var fleet sync.WaitGroup
		for range 8 {
			guard, _ := newGuard(t, server, "release")
			fleet.Go(func() {
				err := guard.Login(t.Context(), token, func(context.Context) error {
					logins.Add(1)
					time.Sleep(20 * time.Millisecond)
					return code
				})
				if !errors.Is(err, code) {
					t.Errorf("error %v, want %s", err, code)
				}
			})
		}
		fleet.Wait()
		if n := logins.Load(); n != 1 {
			t.Errorf("%s: %d logins, want 1", code, n)
		}
	}
}

func TestFailureStandsUntilThePoolIsResumed(t *testing.T) {
	server := newBroker(t)
	guard, nc := newGuard(t, server, "release")
	fails := func(context.Context) error { return capsign.PINIncorrect }
	works := func(context.Context) error { return nil }
	_ = guard.Login(t.Context(), token, fails)
	if err := guard.Login(t.Context(), "another token", works); err != nil {
		t.Errorf("another token: %v", err)
	}
	other, _ := newGuard(t, server, "other")
	for _, g := range []*loginguard.Guard{guard, other} {
		if err := g.Login(t.Context(), token, works); !errors.Is(err, capsign.PINIncorrect) {
			t.Errorf("error %v, want %s", err, capsign.PINIncorrect)
		}
	}
	if _, err := capsign.ResumePool(t.Context(), nc, "other"); err == nil {
		t.Error("a pool without a record was resumed")
	}
	if err := guard.Login(t.Context(), token, works); !errors.Is(err, capsign.PINIncorrect) {
		t.Errorf("another pool's resume ended the block: %v", err)
	}
	resume(t, nc, "release")
	if err := guard.Login(t.Context(), token, works); err != nil {
		t.Errorf("after the resume: %v", err)
	}
}

// resume resumes a pool, after making its record.
func resume(t *testing.T, nc *nats.Conn, pool string) {
	t.Helper()
	server, err := nc.RequestWithContext(t.Context(), "$JS.API.STREAM.CREATE.KV_CAP_POOLS",
		[]byte(`{"name":"KV_CAP_POOLS","subjects":["$KV.CAP_POOLS.>"],"max_msgs_per_subject":1,"allow_rollup_hdrs":true,"deny_delete":true,"allow_direct":true,"discard":"new"}`))
	if err != nil || server == nil {
		t.Fatal(err)
	}
	_, err = capsign.UpdatePool(t.Context(), nc, pool, func(p *capsign.Pool) bool {
		*p = capsign.Pool{V: capsign.Version, Name: pool, State: capsign.PoolPaused, Code: capsign.PINIncorrect}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := capsign.ResumePool(t.Context(), nc, pool); err != nil {
		t.Fatal(err)
	}
}

func TestPassingFailureStandsForNothing(t *testing.T) {
	guard, _ := newGuard(t, newBroker(t), "release")
	err := guard.Login(t.Context(), token, func(context.Context) error { return capsign.TokenAbsent })
	if !errors.Is(err, capsign.TokenAbsent) {
		t.Errorf("error %v", err)
	}
	if err := guard.Login(t.Context(), token, func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
	if err := guard.Block(t.Context(), token, capsign.TokenLocked); err != nil {
		t.Fatal(err)
	}
	err = guard.Login(t.Context(), token, func(context.Context) error { t.Error("logged in"); return nil })
	if !errors.Is(err, capsign.TokenLocked) {
		t.Errorf("error %v, want %s", err, capsign.TokenLocked)
	}
}

func TestWithoutABrokerNobodyLogsIn(t *testing.T) {
	server := newBroker(t)
	guard, nc := newGuard(t, server, "release")
	nc.Close()
	err := guard.Login(t.Context(), token, func(context.Context) error { t.Error("logged in"); return nil })
	if code := capsign.CodeOf(err); !code.Retryable() {
		t.Errorf("error %v, want a temporary one", err)
	}
}

func TestWorkersTakeTurns(t *testing.T) {
	server := newBroker(t)
	var at, most atomic.Int64
	var fleet sync.WaitGroup
	for range 4 {
		guard, _ := newGuard(t, server, "release")
		fleet.Go(func() {
			err := guard.Login(t.Context(), token, func(context.Context) error {
				if n := at.Add(1); n > most.Load() {
					most.Store(n)
				}
				time.Sleep(20 * time.Millisecond)
				at.Add(-1)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	fleet.Wait()
	if most.Load() != 1 {
		t.Errorf("%d logged in at once", most.Load())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	holder, _ := newGuard(t, server, "release")
	waiter, _ := newGuard(t, server, "release")
	err := holder.Login(t.Context(), token, func(context.Context) error {
		return waiter.Login(ctx, token, func(context.Context) error { t.Error("logged in out of turn"); return nil })
	})
	if !errors.Is(err, capsign.ProviderTimeout) {
		t.Errorf("error %v, want %s", err, capsign.ProviderTimeout)
	}
}
