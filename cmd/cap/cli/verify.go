package cli

import (
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

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
		Long: "verify-signature checks that a signature belongs to a message and a key, and\n" +
			"that the key still counts. The keyring comes from the broker, where no worker\n" +
			"needs to run, or from a file that 'cap keyring export' wrote: then nothing uses\n" +
			"the network. Where no root is pinned ('cap keyring trust'), the kid alone\n" +
			"vouches for the key, and the answer says unpinned. Exit status 0 means valid,\n" +
			"1 that it is not, all else that it could not be told.",
		Example: "  cap verify-signature --in msg.bin --sig msg.sig --kid KID",
		Args:    noArgs,
		RunE:    a.bounded(func(ctx context.Context) error { return a.verify(ctx, v) }),
	}
	set := cmd.Flags()
	set.StringVar(&v.in.path, "in", "", "the message is in `FILE`; - is stdin")
	set.StringVar(&v.sig.path, "sig", "", "the signature is in `FILE`, raw or as base64; - is stdin")
	set.StringVar(&v.kid, "kid", "", "it is of key version `KID`, or that SPKI SHA-256 or JWK thumbprint")
	set.StringVar(&v.keyring.path, "keyring", "", "use `FILE` alone: an exported keyring or, unpinned, a JWKS or JWK")
	a.trust.register(set)
	return required(cmd, "in", "sig", "kid")
}

// verdict is what "cap verify-signature --json" prints of a valid signature.
type verdict struct {
	Valid bool   `json:"valid"`
	KID   string `json:"kid"`
	// Code is Unpinned, or empty where a keyring says that the signature counts.
	Code capsign.Code `json:"code,omitzero"`
	// Version is the keyring's; State is active or accepted, the latter Until T1.
	Version uint64        `json:"keyring_version,omitzero"`
	State   capsign.State `json:"state,omitzero"`
	Until   time.Time     `json:"until,omitzero"`
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
	is, err := a.check(ctx, v)
	kid := cmp.Or(is.key.KID, v.kid)
	if err != nil {
		return &unverified{kid: kid, err: err}
	}
	if a.flags.json {
		result := verdict{Valid: true, KID: kid, Version: is.version, State: is.state, Until: is.until}
		if is.version == 0 {
			result.Code = capsign.Unpinned
		}
		return a.printJSON(result)
	}
	return a.printf("valid: %s\n%s\n", kid, is.text())
}

// text says in one line why a signature counts.
func (is judgement) text() string {
	switch {
	case is.version == 0:
		return string(capsign.Unpinned) + ": " + capsign.Unpinned.Sentence()
	case is.until.IsZero():
		return fmt.Sprintf("keyring: version %d, %s", is.version, is.state)
	}
	return fmt.Sprintf("keyring: version %d, %s until %s", is.version, is.state, stamp(is.until))
}

// check returns what is known of the key version that made the signature. On
// error, it is the one that did not, as far as it is known.
func (a *app) check(ctx context.Context, v verification) (judgement, error) {
	var none judgement
	inputs := []input{v.in, v.sig}
	if v.keyring.path == "-" { // a keyring file may be what was signed
		inputs = append(inputs, v.keyring)
	}
	if err := a.differ(inputs...); err != nil {
		return none, err
	}
	msg, err := a.read(ctx, v.in, capsign.MaxMessageSize)
	if err != nil {
		return none, err
	}
	sig, err := a.read(ctx, v.sig, maxSignature)
	if err != nil {
		return none, err
	}
	j, err := a.judge(ctx, v.keyring)
	if err != nil {
		return none, err
	}
	is, err := j.judge(v.kid)
	if err != nil {
		return is, err
	}
	return is, verifyEither(is.key, msg, sig)
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
