package pkcs11

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"github.com/capsign/cap/capsign"
)

// defaultCallTimeout is how long one call into a module may take.
const defaultCallTimeout = 5 * time.Second

// Config names a key on a token, and the module that reaches it. It prints as
// REDACTED.
type Config struct {
	// Module is the absolute path of the vendor's library.
	Module string
	// InitArgs goes to C_Initialize as its reserved string; empty means none.
	InitArgs string
	// TokenLabel is the token's label; empty means any.
	TokenLabel string
	// TokenSerial is the token's serial number; empty means any.
	TokenSerial string
	// Slot is the token's slot id or, where no slot has it, its index among the
	// initialised tokens; nil means any.
	Slot *uint
	// KeyLabel is the CKA_LABEL of the key's first version; version n is
	// labelled KeyLabel.n. Empty means KeyID alone.
	KeyLabel string
	// KeyID is a CKA_ID and pins one key, which must bear KeyLabel too if that
	// is given; empty means all versions of KeyLabel.
	KeyID []byte
	// KeyName is the key's logical name, which goes into the kid. It must pass
	// capsign.CheckKeyName.
	KeyName string
	// PIN is the user PIN. It is kept as long as a provider is open on the
	// token, which may have to be logged in to again.
	PIN []byte
	// KeyPIN is the PIN of keys with CKA_ALWAYS_AUTHENTICATE; nil means PIN.
	KeyPIN []byte
	// Alg is the algorithm of a generated key, empty meaning ES256, and of an
	// RSA key, where anything but RS256 means PS256. It does not matter for
	// other keys, whose type says it.
	Alg capsign.Alg
	// Sessions is how many signatures the token makes at once. Zero means two
	// per CPU for the class token and one for the class chip. The token's own
	// limit is never exceeded. Providers of one token share the sessions, and
	// the class, of the one that was opened first.
	Sessions int
	// Class is ClassToken or ClassChip; empty means what the token looks like.
	Class capsign.Class
	// CallTimeout is how long one call into the module may take before it
	// counts as hung; zero means 5 s. Providers of one module share the value of
	// the one that was opened first.
	CallTimeout time.Duration
	// Guard decides whether a login may be tried. It must be given.
	Guard LoginGuard
	// Log takes what an operator should know; nil means nobody does.
	Log *slog.Logger
}

// LoginGuard decides, for all workers that share a token, whether a login may
// be tried: a token locks itself after a few wrong PINs, whoever sends them.
// The token is named by serial number and label together, since all TPMs have
// the same serial number.
type LoginGuard interface {
	// Login runs login, which tries the PIN exactly once, unless an earlier
	// failure stands against the token: then it returns that one's code, which
	// is capsign.PINIncorrect or capsign.TokenLocked, without running it. Where
	// it cannot know, it does not run login and returns a temporary code. An
	// error of login's that wraps one of the two is recorded.
	Login(ctx context.Context, token string, login func(context.Context) error) error
	// Block records a failure that was met outside of Login.
	Block(ctx context.Context, token string, code capsign.Code) error
}

// checked returns cfg with its defaults filled in, its byte slices its own, or
// what is wrong with it.
func (cfg Config) checked() (Config, error) {
	if err := cfg.check(); err != nil {
		return Config{}, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.CallTimeout = cmp.Or(cfg.CallTimeout, defaultCallTimeout)
	cfg.Alg = cmp.Or(cfg.Alg, capsign.ES256)
	if cfg.KeyPIN == nil {
		cfg.KeyPIN = cfg.PIN
	}
	cfg.PIN, cfg.KeyPIN, cfg.KeyID = bytes.Clone(cfg.PIN), bytes.Clone(cfg.KeyPIN), bytes.Clone(cfg.KeyID)
	return cfg, nil
}

// check says what is wrong with the configuration, if anything.
func (cfg Config) check() error {
	switch {
	case cfg.Guard == nil:
		return fmt.Errorf("no login guard: %w", capsign.ConfigInvalid)
	case cfg.KeyLabel == "" && len(cfg.KeyID) == 0:
		return fmt.Errorf("neither key label nor key id: %w", capsign.ConfigInvalid)
	case capsign.CheckKeyName(cfg.KeyName) != nil:
		return fmt.Errorf("key name: %w", capsign.ConfigInvalid)
	case len(cfg.PIN) == 0:
		return fmt.Errorf("no pin: %w", capsign.ConfigInvalid)
	case cfg.Sessions < 0 || cfg.CallTimeout < 0:
		return fmt.Errorf("negative limit: %w", capsign.ConfigInvalid)
	case !slices.Contains([]capsign.Class{"", capsign.ClassToken, capsign.ClassChip}, cfg.Class):
		return fmt.Errorf("class: %w", capsign.ConfigInvalid)
	case cfg.Alg != "" && !slices.Contains(algs, cfg.Alg):
		return fmt.Errorf("algorithm: %w", capsign.UnsupportedAlg)
	}
	return nil
}

// algs are the algorithms that keys on a token may have.
var algs = []capsign.Alg{capsign.Ed25519, capsign.ES256, capsign.ES384, capsign.PS256, capsign.RS256}

// sessions returns how many sessions to sign with on a token of the class whose
// ulMaxSessionCount is most. One session of those is the anchor that holds the
// login. Zero and the largest numbers are a token's ways not to give a figure
// (openCryptoki's is one less than CK_UNAVAILABLE_INFORMATION).
func (cfg Config) sessions(class capsign.Class, most uint) int {
	wanted := cfg.Sessions
	switch {
	case wanted > 0:
	case class == capsign.ClassChip:
		wanted = 1
	default:
		// A thread that leaves the module has to find a CPU again: with one
		// session per CPU some stand idle meanwhile.
		wanted = 2 * runtime.NumCPU()
	}
	if most == 0 || most >= ^uint(0)-1 || most > 1<<20 {
		return wanted
	}
	return max(1, min(wanted, int(most)-1))
}
