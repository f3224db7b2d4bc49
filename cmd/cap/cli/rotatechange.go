package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// changeFlags are those of every command that changes the keyring.
type changeFlags struct {
	roots, passphrases []string
	reason             string
	expires            days
	dryRun             bool
	signOnly           string
	unchecked          bool
}

// register declares the flags on a command.
func (f *changeFlags) register(cmd *cobra.Command) {
	set := cmd.Flags()
	f.registerRoots(cmd)
	set.StringVar(&f.reason, "reason", "", "why it is done, in `TEXT` that the history keeps")
	f.expires = days(rotation.DefaultExpiry)
	set.Var(&f.expires, "expires", "the keyring holds for `TIME`, as in 365d")
	set.BoolVar(&f.dryRun, "dry-run", false, "only show what would change")
	set.StringVar(&f.signOnly, "sign-only", "", "publish nothing; write the signed change to `FILE` for others to sign")
}

// registerRoots declares the flags that say who signs.
func (f *changeFlags) registerRoots(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.roots, "root", nil, "sign with the root key in `FILE`, or with pool:NAME[/KEY]; may be repeated")
	cmd.Flags().StringArrayVar(&f.passphrases, "passphrase-file", nil, "the root keys' passphrase is in `FILE` (env "+passphraseEnv+", or asked for); once, or once per --root")
}

// check refuses a change that nobody signs or gives a reason for.
func (f *changeFlags) check() error {
	var absent []string
	if len(f.roots) == 0 {
		absent = append(absent, "--root")
	}
	if f.reason == "" {
		absent = append(absent, "--reason")
	}
	switch {
	case f.dryRun:
		return nil
	case len(absent) > 0:
		return misuse("Missing: %s.", strings.Join(absent, ", "))
	}
	return checkReason(f.reason)
}

// checkReason refuses a reason that a keyring cannot hold.
func checkReason(reason string) error {
	if len(reason) > capsign.MaxReason || printable(reason) != reason || strings.TrimSpace(reason) == "" {
		return misuse("--reason is to be up to %d bytes of text on one line.", capsign.MaxReason)
	}
	return nil
}

// draft says what to make of the keyring in force.
type draft func(ctx context.Context, c *change) (capsign.Keyring, error)

// change is one change of the keyring while it is being made.
type change struct {
	*changeFlags
	rotation.Change
	nc      *nats.Conn
	held    *capsign.SignedKeyring // in force; nil before the first
	signers []rotation.RootSigner
}

// changing returns a RunE that changes the keyring as draft says.
func (a *app) changing(f *changeFlags, draft draft) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := cmp.Or(f.check(), a.checkOutput(f.signOnly)); err != nil {
			return err
		}
		var specs []rootSpec
		if !f.dryRun {
			var err error
			if specs, err = a.unlock(cmd.Context(), f.roots, f.passphrases, false); err != nil {
				return err
			}
		}
		return a.bounded(func(ctx context.Context) error { return a.change(ctx, f, specs, false, draft) })(cmd, args)
	}
}

// change makes the keyring that comes after the one in force, has it signed,
// and publishes it. mayMake lets it make the root key files that are missing.
func (a *app) change(ctx context.Context, f *changeFlags, specs []rootSpec, mayMake bool, draft draft) error {
	nc, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	c := &change{changeFlags: f, nc: nc}
	if c.signers, err = a.openRoots(ctx, nc, specs, mayMake); err != nil {
		return err
	}
	b, err := a.inForce(ctx, nc, c.signers)
	if err != nil {
		return err
	}
	c.held, c.Change = b.Signed, f.change(time.Now()) // now that the roots are open, which takes its time
	next, err := draft(ctx, c)
	if err != nil {
		return changeFault(err)
	}
	plan := rotation.Describe(c.held.Keyring(), &next, c.Now)
	plan.Reason = f.reason
	if f.dryRun {
		return a.printChange(changed{Version: next.Version, DryRun: true, Plan: plan}, c.Now)
	}
	if err := c.checkSigners(&next); err != nil {
		return err
	}
	if err := a.checkNewlyActive(ctx, c, &next); err != nil {
		return err
	}
	signed, err := rotation.Sign(ctx, next, c.signers...)
	if err != nil {
		return err
	}
	return a.release(ctx, c, b, signed, plan)
}

// change returns what the flags say of every change. A dry run needs no reason.
func (f *changeFlags) change(now time.Time) rotation.Change {
	reason := f.reason
	if reason == "" {
		reason = "dry run"
	}
	return rotation.Change{Reason: reason, Now: now.UTC(), Expires: time.Duration(f.expires)}
}

// inForce returns the keyring that is to be changed. Who holds a root key
// believes it, where no other root is pinned.
func (a *app) inForce(ctx context.Context, nc *nats.Conn, signers []rotation.RootSigner) (belief, error) {
	b, err := a.belief()
	if err != nil {
		return b, err
	}
	if !b.Pinned() {
		for _, signer := range signers {
			b.Trust.Roots = append(b.Trust.Roots, signer.Public().Fingerprint())
		}
	}
	if !b.Pinned() {
		return b, unpinnedFault()
	}
	if b, err = b.latest(ctx, nc); err != nil {
		return b, err
	}
	if hint := b.behind(); hint != "" {
		return b, &fault{code: capsign.ClockSkew, sentence: "The clock is behind the latest time that was seen here.", hint: hint}
	}
	return b, nil
}

// unpinnedFault says that nobody is believed yet.
func unpinnedFault() error {
	return &fault{
		code: capsign.KeyringUntrusted, sentence: "No root is pinned, so there is no telling which keyring is in force.",
		hint: "pin it with 'cap keyring trust FINGERPRINT'; 'cap keyring show' shows who signed.",
	}
}

// checkSigners refuses roots whose signatures count for nothing.
func (c *change) checkSigners(next *capsign.Keyring) error {
	counting := next.Roots.Fingerprints()
	if c.held != nil {
		counting = append(counting, c.held.Keyring().Roots.Fingerprints()...)
	}
	for i, signer := range c.signers {
		if !slices.Contains(counting, signer.Public().Fingerprint()) {
			return &fault{
				code: capsign.RootRefused, sentence: fmt.Sprintf("%q is none of the keyring's roots.", c.roots[i]),
				hint: "'cap keyring show' lists them.",
			}
		}
	}
	return nil
}

// missing returns how many signatures a keyring lacks to come after held, or to
// be the first.
func missing(held, next *capsign.SignedKeyring) int {
	lacks := next.Missing(next.Keyring().Roots)
	if held != nil {
		lacks = max(lacks, next.Missing(held.Keyring().Roots))
	}
	return lacks
}

// release publishes a signed keyring, or writes it to a file for others to sign.
func (a *app) release(ctx context.Context, c *change, b belief, signed *capsign.SignedKeyring, plan rotation.Plan) error {
	result := changed{Version: plan.Version, Hash: signed.Hash(), Missing: missing(c.held, signed), Plan: plan}
	if c.signOnly != "" {
		if err := a.writeSigned(ctx, c.signOnly, signed); err != nil {
			return err
		}
		result.File = c.signOnly
		return a.printChange(result, c.Now)
	}
	if err := a.publish(ctx, c.nc, b, c.held, signed); err != nil {
		return err
	}
	result.Published, result.Followed = true, awaitWorkers(ctx, c.nc, plan)
	return a.printChange(result, c.Now)
}

// publish puts a keyring where everybody finds it, and remembers it.
func (a *app) publish(ctx context.Context, nc *nats.Conn, b belief, held, signed *capsign.SignedKeyring) error {
	if lacks := missing(held, signed); lacks > 0 {
		return &fault{
			code: capsign.KeyringUntrusted, sentence: fmt.Sprintf("Nothing was published: more roots have to sign (%d).", lacks),
			hint: "name them all with --root; or --sign-only FILE, and the others run 'cap rotate sign FILE'.",
		}
	}
	var err error
	switch {
	case held != nil:
		err = capsign.Succeeds(held, signed)
	case b.Signed != nil:
		err = capsign.KeyringFork
	case b.Pinned():
		err = b.Trust.First(signed)
	}
	if err != nil {
		return err
	}
	store, err := rotation.OpenStore(ctx, nc, replicas(ctx, nc))
	if err != nil {
		return err
	}
	if err := store.Publish(ctx, signed); err != nil {
		return err
	}
	_, err = b.moved(signed)
	return err
}

// changeFault explains why a keyring cannot be changed so.
func changeFault(err error) error {
	if _, isFault := errors.AsType[*fault](err); isFault || codeOf(err) != capsign.BadRequest {
		return err
	}
	what, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "rotation: "), "capsign: keyring: "), ": ")
	return &fault{code: capsign.BadRequest, sentence: "The keyring cannot be changed so: " + what + ".", hint: "'cap rotate status' shows where each key stands."}
}
