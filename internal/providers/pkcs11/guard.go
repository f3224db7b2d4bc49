package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/capsign/cap/capsign"
)

// OneLogin returns the guard of a process without a broker: the first wrong PIN
// stands against its token until the process ends, whoever asks. It knows
// nothing of other processes.
func OneLogin() LoginGuard { return ownLogins }

// ownLogins is what this process has learnt of its tokens.
var ownLogins = newOneLogin()

// oneLogin lets one login run at a time, and none after a failure.
type oneLogin struct {
	turn turn // of who logs in

	mu     sync.Mutex
	failed map[string]capsign.Code // by token
}

// newOneLogin returns a guard that has seen no failure.
func newOneLogin() *oneLogin {
	return &oneLogin{turn: newTurn(), failed: make(map[string]capsign.Code)}
}

// Login runs login unless the token has failed before.
func (g *oneLogin) Login(ctx context.Context, token string, login func(context.Context) error) error {
	if err := g.turn.take(ctx); err != nil {
		return refuse("login", err)
	}
	defer g.turn.give()
	if code := g.standing(token); code != "" {
		return fmt.Errorf("pkcs11: login after a failure: %w", code)
	}
	err := login(ctx)
	if code := pinFailure(err); code != "" {
		g.record(token, code)
	}
	return err
}

// Block records a failure.
func (g *oneLogin) Block(_ context.Context, token string, code capsign.Code) error {
	g.record(token, code)
	return nil
}

// record keeps a failure; the first one of a token stands.
func (g *oneLogin) record(token string, code capsign.Code) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed[token] == "" {
		g.failed[token] = code
	}
}

// standing returns the code that stands against the token, or "".
func (g *oneLogin) standing(token string) capsign.Code {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failed[token]
}

// pinFailure returns the code in err if it is one that stops all logins to a
// token, else "".
func pinFailure(err error) capsign.Code {
	for _, code := range []capsign.Code{capsign.PINIncorrect, capsign.TokenLocked} {
		if errors.Is(err, code) {
			return code
		}
	}
	return ""
}
