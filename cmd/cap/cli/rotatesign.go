package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// cosignCommand returns "cap rotate sign".
func (a *app) cosignCommand() *cobra.Command {
	f := new(changeFlags)
	keyring := input{flag: "--keyring"}
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "sign FILE --root FILE",
		Short: "Add a root's signature to a change",
		Long: "sign shows what a change that --sign-only wrote to FILE means, and adds the\n" +
			"signatures of further roots. The change continues one keyring, and is refused\n" +
			"where that is not the one in force. With --keyring nothing but files is used.",
		Example: "  cap rotate sign change.json --root root2.key",
		Args:    fileArg,
	}
	f.registerRoots(cmd)
	cmd.Flags().StringVar(&keyring.path, "keyring", "", "the keyring in force is the last one in `FILE`, an exported one")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would change")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var specs []rootSpec
		if !dryRun {
			if len(f.roots) == 0 {
				return misuse("Missing: --root.")
			}
			var err error
			if specs, err = a.unlock(cmd.Context(), f.roots, f.passphrases, false); err != nil {
				return err
			}
		}
		f.dryRun, f.signOnly = dryRun, args[0]
		return a.bounded(func(ctx context.Context) error { return a.cosign(ctx, f, specs, keyring) })(cmd, nil)
	}
	return cmd
}

// publishCommand returns "cap rotate publish".
func (a *app) publishCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "publish FILE",
		Short: "Put a signed change in force",
		Long: "publish puts a change in force that --sign-only wrote to FILE, once enough roots\n" +
			"have signed it.",
		Example: "  cap rotate publish change.json",
		Args:    fileArg,
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would change")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.bounded(func(ctx context.Context) error { return a.publishFile(ctx, args[0], dryRun) })(cmd, nil)
	}
	return cmd
}

// fileArg takes one argument, a file.
func fileArg(_ *cobra.Command, args []string) error {
	switch {
	case len(args) > 1:
		return misuse("Unexpected argument %q.", args[1])
	case len(args) == 0 || args[0] == "":
		return misuse("Missing: FILE.")
	}
	return nil
}

// readSigned reads a signed change.
func (a *app) readSigned(ctx context.Context, path string) (*capsign.SignedKeyring, error) {
	data, err := a.read(ctx, input{flag: "FILE", path: path}, capsign.MaxKeyringSize)
	if err != nil {
		return nil, err
	}
	signed, err := capsign.ParseSignedKeyring(data)
	if err != nil {
		return nil, &fault{
			code: codeOf(err), sentence: fmt.Sprintf("%q is no change of a keyring that cap wrote.", path),
			hint: "--sign-only FILE writes one.",
		}
	}
	return signed, nil
}

// writeSigned writes a signed change.
func (a *app) writeSigned(ctx context.Context, path string, signed *capsign.SignedKeyring) error {
	data, err := signed.Encode()
	if err != nil {
		return err
	}
	return a.write(ctx, path, append(data, '\n'))
}

// cosign adds signatures to a change in a file.
func (a *app) cosign(ctx context.Context, f *changeFlags, specs []rootSpec, keyring input) error {
	signed, err := a.readSigned(ctx, f.signOnly)
	if err != nil {
		return err
	}
	held, pinned, err := a.continued(ctx, signed, keyring)
	switch {
	case err != nil:
		return err
	case held != nil && !pinned:
		return unpinnedFault()
	}
	now := time.Now()
	plan := rotation.Describe(keyringOf(held), signed.Keyring(), now)
	if f.dryRun {
		return a.printChange(changed{Version: plan.Version, DryRun: true, Missing: missing(held, signed), Plan: plan}, now)
	}
	c := &change{changeFlags: f, held: held}
	if c.signers, err = a.openAnywhere(ctx, specs); err != nil {
		return err
	}
	if err := c.checkSigners(signed.Keyring()); err != nil {
		return err
	}
	for _, signer := range c.signers {
		if signed, err = rotation.AddSignature(ctx, signed, signer); err != nil {
			return err
		}
	}
	if err := a.writeSigned(ctx, f.signOnly, signed); err != nil {
		return err
	}
	return a.printChange(changed{
		Version: plan.Version, Hash: signed.Hash(), Missing: missing(held, signed), File: f.signOnly, Plan: plan,
	}, now)
}

// openAnywhere opens roots, with a broker where one of them is behind a pool.
func (a *app) openAnywhere(ctx context.Context, specs []rootSpec) ([]rotation.RootSigner, error) {
	for _, spec := range specs {
		if spec.isPool() {
			return nil, misuse("A root behind a pool signs when the change is made: name it there with --root.")
		}
	}
	return a.openRoots(ctx, nil, specs, false)
}

// continued returns the keyring in force, which a change has to continue; nil
// where the change is the first one. pinned says whether a pinned root vouches
// for it.
func (a *app) continued(ctx context.Context, signed *capsign.SignedKeyring, keyring input) (held *capsign.SignedKeyring, pinned bool, err error) {
	if signed.Keyring().Version == 1 {
		return nil, false, nil
	}
	s, err := a.sight(ctx, keyring)
	if err != nil {
		return nil, false, err
	}
	held = s.Signed
	if held.Hash() != signed.Keyring().Previous {
		return nil, false, &fault{
			code: capsign.KeyringFork,
			sentence: fmt.Sprintf("The change does not continue the keyring in force, version %d: another came first.",
				held.Keyring().Version),
			hint: "make the change again, from what 'cap rotate status' shows.",
		}
	}
	return held, s.pinned, nil
}

// keyringOf returns what was signed; nil where nothing was.
func keyringOf(s *capsign.SignedKeyring) *capsign.Keyring {
	if s == nil {
		return nil
	}
	return s.Keyring()
}

// publishFile puts a change in a file in force.
func (a *app) publishFile(ctx context.Context, path string, dryRun bool) error {
	signed, err := a.readSigned(ctx, path)
	if err != nil {
		return err
	}
	held, _, err := a.continued(ctx, signed, input{})
	if err != nil {
		return err
	}
	b, err := a.belief()
	if err != nil {
		return err
	}
	now := time.Now()
	result := changed{
		Version: signed.Keyring().Version, Hash: signed.Hash(), Missing: missing(held, signed), File: path,
		DryRun: dryRun, Plan: rotation.Describe(keyringOf(held), signed.Keyring(), now),
	}
	if dryRun {
		return a.printChange(result, now)
	}
	nc, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	if !b.Pinned() {
		b.path = "" // who only carries a change need not believe it
	}
	if err := a.publish(ctx, nc, b, held, signed); err != nil {
		return err
	}
	result.Published, result.Followed = true, awaitWorkers(ctx, nc, result.Plan)
	return a.printChange(result, now)
}
