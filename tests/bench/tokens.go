package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/capsign/cap/capsign"
)

// The names of the contenders of P5 that are not a number of sessions of the
// module's own.
const (
	provided = "provided" // Provider.Sign
	verified = "verified" // the same, each signature verified as the queue does it
)

// rawSessions are how many sessions the bare module is tried with; the fastest
// is the yardstick.
var rawSessions = []string{"1", "2", "4"}

// tokenTurns is how often the contenders take turns within a round of a row.
const tokenTurns = 8

// onToken measures the pkcs11 provider on SoftHSM beside the bare module. Each
// is in a process of its own, for a module has one login state per process;
// they sign in turns, never at once.
func onToken(alg capsign.Alg) func(context.Context, *pass) (figures, error) {
	return func(ctx context.Context, p *pass) (_ figures, err error) {
		token, err := newToken(ctx, p, alg)
		if err != nil {
			return nil, err
		}
		provider, err := token.spawn(ctx, p, "provider") // makes the key
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, provider.stop()) }()
		module, err := token.spawn(ctx, p, "module")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, module.stop()) }()
		seen := make(map[string][]figures)
		for range tokenTurns {
			if err := takeTurns(p, module, rawSessions, seen); err != nil {
				return nil, err
			}
			if err := takeTurns(p, provider, []string{provided, verified}, seen); err != nil {
				return nil, err
			}
		}
		return compare(seen), nil
	}
}

// takeTurns has each contender of a process sign once and adds what it gave to
// seen.
func takeTurns(p *pass, in *tokenProcess, contenders []string, seen map[string][]figures) error {
	for _, name := range contenders {
		f, err := in.measure(name, p.pace.window/10)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		seen[name] = append(seen[name], f)
	}
	return nil
}

// compare makes the row's figures of what the contenders gave.
func compare(seen map[string][]figures) figures {
	best, sessions := figures{}, ""
	for _, n := range rawSessions {
		if f := medians(seen[n]); f[perSecond] > best[perSecond] {
			best, sessions = f, n
		}
	}
	ours, checked := medians(seen[provided]), medians(seen[verified])
	count, _ := strconv.ParseFloat(sessions, 64) // one of rawSessions
	return figures{
		ofModule: ours[perSecond] / best[perSecond], ofModuleVerified: checked[perSecond] / best[perSecond],
		ofModuleCPU: best[cpu] / ours[cpu],
		tokenRate:   ours[perSecond], moduleRate: best[perSecond], moduleSessions: count,
		cpu: ours[cpu], moduleCPU: best[cpu], others: max(ours[others], best[others]),
	}
}

// The label and the PIN of every token here.
const (
	tokenLabel = "cap-bench"
	tokenPIN   = "123456"
)

// token is a SoftHSM token made for a row.
type token struct {
	module string // path of the library
	conf   string // SOFTHSM2_CONF
	alg    capsign.Alg
}

// newToken makes an empty token in p's directory. It wraps errSkip where SoftHSM
// is not installed, or this binary cannot call it.
func newToken(ctx context.Context, p *pass, alg capsign.Alg) (*token, error) {
	if !callsModules {
		return nil, fmt.Errorf("%w: built without cgo or with nopkcs11", errSkip)
	}
	module := findModule()
	util, err := exec.LookPath("softhsm2-util")
	if err != nil || module == "" {
		return nil, fmt.Errorf("%w: SoftHSM is not installed (apt-get install softhsm2)", errSkip)
	}
	t := &token{module: module, conf: filepath.Join(p.dir, "softhsm2.conf"), alg: alg}
	tokens := filepath.Join(p.dir, "tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		return nil, err
	}
	settings := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", tokens)
	if err := os.WriteFile(t.conf, []byte(settings), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, util, "--init-token", "--free", "--label", tokenLabel, "--so-pin", tokenPIN, "--pin", tokenPIN)
	cmd.Env = append(os.Environ(), "SOFTHSM2_CONF="+t.conf)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("softhsm2-util: %w: %s", err, out)
	}
	return t, nil
}

// findModule returns the path of SoftHSM's library, "" where it is not there.
func findModule() string {
	for _, pattern := range []string{
		"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so",
	} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 { // the patterns are well formed
			return found[0]
		}
	}
	return ""
}
