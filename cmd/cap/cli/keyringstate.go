package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/pflag"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// trustFlags say whose keyrings a command believes.
type trustFlags struct {
	state     string   // --state
	roots     []string // --root-fingerprint
	threshold int      // --root-threshold; 0 means 1
}

// registerState declares --state.
func (f *trustFlags) registerState(set *pflag.FlagSet) {
	set.StringVar(&f.state, "state", "", "remember the keyring in `FILE` (env CAP_STATE, or the user's own)")
}

// register declares all flags of trust.
func (f *trustFlags) register(set *pflag.FlagSet) {
	f.registerState(set)
	set.StringSliceVar(&f.roots, "root-fingerprint", nil, "believe keyrings that root `FINGERPRINT` has signed, without a state file; may be repeated")
	set.IntVar(&f.threshold, "root-threshold", 0, "believe what `N` of those roots have signed (default 1)")
}

// statePath returns the file that remembers the keyring, and whether the person
// has named it. It is empty where the user has no home that one could be in.
func (f *trustFlags) statePath() (path string, named bool) {
	for _, path := range []string{f.state, os.Getenv("CAP_STATE")} {
		if path != "" {
			return path, true
		}
	}
	dir := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(dir) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", false
		}
		dir = filepath.Join(home, ".local", "state")
	}
	path = filepath.Join(dir, "cap", "keyring.json")
	if _, err := os.Stat(path); errors.Is(err, syscall.ENOTDIR) { // as where home is /dev/null
		return "", false
	}
	return path, false
}

// fingerprint is what a root key's looks like.
var fingerprint = regexp.MustCompile(`^[0-9a-f]{64}$`)

// checkFingerprints refuses what no root is pinned by.
func checkFingerprints(roots []string, threshold int) error {
	for _, root := range roots {
		if !fingerprint.MatchString(root) {
			return misuse("%q is no fingerprint of a root: 64 lower-case hex digits.", root)
		}
	}
	unique := slices.Compact(slices.Sorted(slices.Values(roots)))
	if len(unique) != len(roots) {
		return misuse("A root is named twice.")
	}
	if threshold < 0 || threshold > max(1, len(roots)) {
		return misuse("%d roots cannot reach a threshold of %d.", len(roots), threshold)
	}
	return nil
}

// belief is whose keyrings are believed, and the newest one known.
type belief struct {
	rotation.Mark
	path string // where it is kept; "" where the flags alone say it
}

// belief returns what the state file remembers, or what flags say instead.
func (a *app) belief() (belief, error) {
	if err := checkFingerprints(a.trust.roots, a.trust.threshold); err != nil {
		return belief{}, err
	}
	if a.trust.threshold != 0 && len(a.trust.roots) == 0 {
		return belief{}, misuse("--root-threshold goes with --root-fingerprint.")
	}
	path, named := a.trust.statePath()
	mark, err := loadMark(path)
	if err != nil {
		return belief{}, &fault{
			code: codeOf(err), sentence: "The file that remembers the keyring cannot be used.",
			hint: shellWord(path) + " must be this user's alone (chmod 600) and as cap wrote it; to begin anew, remove it and 'cap keyring trust FINGERPRINT'.",
		}
	}
	asked := capsign.Trust{Roots: a.trust.roots, Threshold: a.trust.threshold}
	switch {
	case len(asked.Roots) == 0, sameTrust(asked, mark.Trust):
		return belief{mark, path}, nil
	case mark.Pinned() && named:
		return belief{}, misuse("--state pins other roots than --root-fingerprint.")
	case named:
		return belief{rotation.Mark{Trust: asked}, path}, nil
	}
	return belief{Mark: rotation.Mark{Trust: asked}}, nil
}

// loadMark reads what is remembered: nothing, where no file can.
func loadMark(path string) (rotation.Mark, error) {
	if path == "" {
		return rotation.Mark{}, nil
	}
	return rotation.LoadMark(path)
}

// sameTrust reports whether two ways to trust are one.
func sameTrust(x, y capsign.Trust) bool {
	return max(1, x.Threshold) == max(1, y.Threshold) &&
		slices.Equal(slices.Sorted(slices.Values(x.Roots)), slices.Sorted(slices.Values(y.Roots)))
}

// latest moves the belief on to the newest keyring of the broker's, and keeps
// it.
func (b belief) latest(ctx context.Context, nc *nats.Conn) (belief, error) {
	mark, err := rotation.Latest(ctx, nc, b.Mark)
	if err != nil {
		return b, err
	}
	return b.moved(mark.Signed)
}

// follow moves the belief on to the newest keyring of an exported chain, and
// keeps it. Without any belief, nothing can be said of a chain.
func (b belief) follow(chain []*capsign.SignedKeyring) (belief, error) {
	if !b.Pinned() {
		return b, &fault{
			code: capsign.KeyringUntrusted, sentence: "No root is pinned, so there is no telling whose keyring this is.",
			hint: "give --root-fingerprint FINGERPRINT, or pin it with 'cap keyring trust FINGERPRINT'.",
		}
	}
	newest, err := b.Trust.FollowChain(b.Signed, chain)
	if err != nil {
		return b, err
	}
	return b.moved(newest)
}

// moved returns the belief with the newest keyring and the present time, and
// keeps both.
func (b belief) moved(newest *capsign.SignedKeyring) (belief, error) {
	b.Signed, b.LatestSeen = newest, b.Now(time.Now().UTC())
	return b, b.keep()
}

// keep writes the belief down. What another process has learnt meanwhile, a
// newer keyring or a later time, is not taken back.
func (b belief) keep() error {
	if b.path == "" {
		return nil
	}
	mark := b.Mark
	if other, err := rotation.LoadMark(b.path); err == nil && sameTrust(other.Trust, mark.Trust) && other.Signed != nil {
		if mark.Signed == nil || other.Signed.Keyring().Version > mark.Signed.Keyring().Version {
			mark.Signed = other.Signed
		}
		mark.LatestSeen = mark.Now(other.LatestSeen)
	}
	if err := mark.Save(b.path); err != nil {
		return &fault{
			code: capsign.BadRequest, sentence: fmt.Sprintf("What is known of the keyring cannot be kept in %q.", b.path),
			hint: "name another file with --state or CAP_STATE, or do without one: --root-fingerprint FINGERPRINT.",
		}
	}
	return nil
}

// behind says that the clock is behind the latest time that was seen, which
// counts instead; "" where it is not.
func (b belief) behind() string {
	if time.Until(b.LatestSeen) < time.Minute {
		return ""
	}
	return "the clock is behind " + b.LatestSeen.Format(time.RFC3339) + ", the latest time seen here, which counts; if that one was wrong, remove " +
		shellWord(b.path) + " and pin the root again."
}
