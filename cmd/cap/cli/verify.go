package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
)

// verification is what the flags of "cap verify-signature" ask for.
type verification struct {
	in, sig, keyring input
	kid              string
}

// verifyCommand returns "cap verify-signature".
func (a *app) verifyCommand() *cobra.Command {
	v := verification{in: input{flag: "--in"}, sig: input{flag: "--sig"}, keyring: input{flag: "--keyring"}}
	cmd := &cobra.Command{
		Use:   "verify-signature --in FILE --sig FILE --kid KID",
		Short: "Check a signature",
		Long: "verify-signature checks that a signature belongs to a message and a key. The\n" +
			"public key comes from the broker, where no worker needs to run, or from a file\n" +
			"that 'cap keys export --format jwks' wrote: then nothing uses the network. Exit\n" +
			"status 0 means valid, 1 that it is not, all else that it could not be told.",
		Example: "  cap verify-signature --in msg.bin --sig msg.sig --kid KID",
		Args:    noArgs,
		RunE:    a.bounded(func(ctx context.Context) error { return a.verify(ctx, v) }),
	}
	set := cmd.Flags()
	set.StringVar(&v.in.path, "in", "", "the message is in `FILE`; - is stdin")
	set.StringVar(&v.sig.path, "sig", "", "the signature is in `FILE`, raw or as base64; - is stdin")
	set.StringVar(&v.kid, "kid", "", "it is of key version `KID`, or that SPKI SHA-256 or JWK thumbprint")
	set.StringVar(&v.keyring.path, "keyring", "", "take public keys from `FILE` (JWKS or JWK) alone")
	return required(cmd, "in", "sig", "kid")
}

// verdict is what "cap verify-signature --json" prints of a valid signature.
type verdict struct {
	Valid bool         `json:"valid"`
	KID   string       `json:"kid"`
	Code  capsign.Code `json:"code"`
}

// unverified is why a signature was not found to be valid.
type unverified struct {
	kid string // of the key, or what was typed where no key was found
	err error
}

// Error returns the reason.
func (u *unverified) Error() string { return u.err.Error() }

// Unwrap returns the reason.
func (u *unverified) Unwrap() error { return u.err }

// verify checks a signature and says whether it is valid.
func (a *app) verify(ctx context.Context, v verification) error {
	key, err := a.check(ctx, v)
	if err != nil {
		return &unverified{kid: key.KID, err: err}
	}
	if a.flags.json {
		return a.printJSON(verdict{Valid: true, KID: key.KID, Code: capsign.Unpinned})
	}
	return a.printf("valid: %s\n%s: %s\n", key.KID, capsign.Unpinned, capsign.Unpinned.Sentence())
}

// check returns the key version that made the signature. On error, it is the
// one that did not, as far as it is known.
func (a *app) check(ctx context.Context, v verification) (capsign.Key, error) {
	asked := capsign.Key{KID: v.kid}
	inputs := []input{v.in, v.sig}
	if v.keyring.path == "-" { // a keyring file may be what was signed
		inputs = append(inputs, v.keyring)
	}
	if err := a.differ(inputs...); err != nil {
		return asked, err
	}
	msg, err := a.read(ctx, v.in, capsign.MaxMessageSize)
	if err != nil {
		return asked, err
	}
	sig, err := a.read(ctx, v.sig, maxSignature)
	if err != nil {
		return asked, err
	}
	key, err := a.findKey(ctx, v)
	if err != nil {
		return asked, err
	}
	return key, verifyEither(key, msg, sig)
}

// findKey returns the key version that --kid names, from the keyring file or
// the broker.
func (a *app) findKey(ctx context.Context, v verification) (capsign.Key, error) {
	if v.keyring.path != "" {
		ring, err := a.readKeyring(ctx, v.keyring)
		if err != nil {
			return capsign.Key{}, err
		}
		return ring.Key(v.kid)
	}
	ring, err := a.fetchKeys(ctx)
	if err != nil {
		return capsign.Key{}, err
	}
	return capsign.NewKeySet(a.flags.narrow(ring.Keys())...).Key(v.kid)
}

// readKeyring reads public keys that were exported before.
func (a *app) readKeyring(ctx context.Context, in input) (*capsign.KeySet, error) {
	data, err := a.read(ctx, in, maxKeyring)
	if err != nil {
		return nil, err
	}
	ring, err := capsign.ParseKeySet(data)
	if errors.Is(err, capsign.BadRequest) {
		return nil, &fault{
			code: capsign.BadRequest, sentence: "--keyring is not a JSON Web Key (Set) that cap wrote.",
			hint: "make one with 'cap keys export --format jwks --out FILE'.",
		}
	}
	return ring, err
}

// verifyEither checks a signature that is raw or, if those bytes are none, the
// base64 text that sign prints to a terminal.
func verifyEither(key capsign.Key, msg, sig []byte) error {
	err := key.Verify(msg, sig)
	if text, ok := fromBase64(sig); err != nil && ok {
		return key.Verify(msg, text)
	}
	return err
}

// fromBase64 decodes one line of base64, and only the one spelling of it: Go's
// decoder would skip line ends anywhere.
func fromBase64(text []byte) ([]byte, bool) {
	line := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if strings.ContainsAny(line, "\r\n") {
		return nil, false
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(line)
	return raw, err == nil
}
