package cli

import (
	"cmp"
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// addCommand returns "cap keyring add".
func (a *app) addCommand() *cobra.Command {
	f := new(changeFlags)
	cmd := &cobra.Command{
		Use:   "add --pool POOL --root FILE --reason TEXT",
		Short: "Have the keyring name a further key",
		Long: "add has the keyring name the key that signs now in a pool that it does not name\n" +
			"yet.",
		Example: "  cap keyring add --pool release --root root.key --reason \"new pool\"",
		Args:    noArgs,
	}
	f.register(cmd)
	cmd.RunE = a.changing(f, func(ctx context.Context, c *change) (capsign.Keyring, error) {
		pools, err := capsign.FetchPools(ctx, c.nc)
		if err != nil {
			return capsign.Keyring{}, err
		}
		pool, err := a.flags.choosePool(pools)
		if err != nil {
			return capsign.Keyring{}, err
		}
		ring, err := capsign.FetchKeySet(ctx, c.nc)
		if err != nil {
			return capsign.Keyring{}, err
		}
		keys, err := a.flags.signingKeys(pool, ring)
		switch {
		case err != nil:
			return capsign.Keyring{}, err
		case len(keys) == 0:
			return capsign.Keyring{}, capsign.KeyUnknown
		case len(keys) > 1:
			return capsign.Keyring{}, misuse("Pool %s has several keys; name one with --key.", pool.Name)
		case keyIndex(*c.held.Keyring(), keys[0].Name) >= 0:
			return capsign.Keyring{}, misuse("The keyring names a key %s already.", keys[0].Name)
		}
		return rotation.Add(c.held, keys[0], c.Change)
	})
	return cmd
}

// renewCommand returns "cap keyring renew".
func (a *app) renewCommand() *cobra.Command {
	f := new(changeFlags)
	cmd := &cobra.Command{
		Use:   "renew --root FILE --reason TEXT",
		Short: "Have the keyring hold for longer",
		Long: "renew publishes the keyring with a later expiry and changes nothing else. An\n" +
			"expired keyring's keys neither sign nor verify until then.",
		Example: "  cap keyring renew --root root.key --reason \"yearly\"",
		Args:    noArgs,
	}
	f.register(cmd)
	cmd.RunE = a.changing(f, func(_ context.Context, c *change) (capsign.Keyring, error) {
		return rotation.Renew(c.held, c.Change)
	})
	return cmd
}

// rootsFlags are those of "cap keyring roots".
type rootsFlags struct {
	changeFlags
	add, remove []string
	threshold   int
}

// rootsCommand returns "cap keyring roots".
func (a *app) rootsCommand() *cobra.Command {
	f := new(rootsFlags)
	cmd := &cobra.Command{
		Use:   "roots --root FILE --reason TEXT",
		Short: "Replace root keys",
		Long: "roots has other root keys sign from the next version on. This version needs\n" +
			"enough signatures of both the old and the new roots: --add signs, and makes the\n" +
			"file where there is none. Verifiers that know a keyring follow by themselves;\n" +
			"new ones pin the new roots.",
		Example: "  cap keyring roots --add new.key --root root.key --reason \"new officer\"",
		Args:    noArgs,
	}
	f.register(cmd)
	cmd.Flags().StringArrayVar(&f.add, "add", nil, "the root key in `FILE` is a further root, or that of pool:NAME[/KEY]")
	cmd.Flags().StringSliceVar(&f.remove, "remove", nil, "the root with this `FINGERPRINT` is one no more")
	cmd.Flags().IntVar(&f.threshold, "threshold", 0, "`N` of the roots must sign each keyring; unchanged where it is not given")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := cmp.Or(f.check(), checkFingerprints(f.remove, 0), a.checkOutput(f.signOnly)); err != nil {
			return err
		}
		if f.dryRun && len(f.add) > 0 {
			return misuse("--dry-run cannot show a root that --add has not opened yet.")
		}
		return a.changeRoots(cmd, args, f)
	}
	return cmd
}

// changeRoots opens the roots that are there and those that are added, which
// all sign.
func (a *app) changeRoots(cmd *cobra.Command, args []string, f *rootsFlags) error {
	count := len(f.roots)
	f.roots = append(f.roots, f.add...)
	var specs []rootSpec
	if !f.dryRun {
		var err error
		if specs, err = a.unlock(cmd.Context(), f.roots, f.passphrases, true); err != nil {
			return err
		}
		for _, spec := range specs[:count] {
			if !spec.exists() {
				return rootFault(spec.text, &rotation.RootError{Fault: rotation.RootMissing})
			}
		}
	}
	edit := func(_ context.Context, c *change) (capsign.Keyring, error) {
		roots := c.held.Keyring().Roots
		roots.Keys = slices.DeleteFunc(slices.Clone(roots.Keys), func(r capsign.RootKey) bool {
			return slices.Contains(f.remove, r.Fingerprint())
		})
		for _, signer := range c.signers[min(count, len(c.signers)):] {
			roots.Keys = append(roots.Keys, signer.Public())
		}
		roots.Threshold = cmp.Or(f.threshold, roots.Threshold)
		return rotation.SetRoots(c.held, roots, c.Change)
	}
	return a.bounded(func(ctx context.Context) error {
		return a.change(ctx, &f.changeFlags, specs, true, edit)
	})(cmd, args)
}
