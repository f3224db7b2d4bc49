package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// rotateCommand returns "cap rotate" with its commands.
func (a *app) rotateCommand() *cobra.Command {
	rotate := a.group("rotate", "Replace keys, go back, revoke")
	rotate.Long = "rotate changes which key version signs and until when the one before still\n" +
		"verifies. Stage 1: one signs and verifies. Stage 2: the new one signs, both\n" +
		"verify. Stage 3, from T1 on: the new one alone. Every change is a new version of\n" +
		"the keyring, which the root keys sign; the history stays."
	rotate.AddCommand(a.planCommand(), a.applyCommand(), a.rotateStatusCommand(), a.rollbackCommand(),
		a.revokeCommand(), a.logCommand(), a.cosignCommand(), a.publishCommand())
	a.trust.register(rotate.PersistentFlags())
	return rotate
}

// applying is what the flags of "cap rotate apply" ask for.
type applying struct {
	changeFlags
	end
	to           string
	signAccepted bool
	cmd          *cobra.Command
}

// applyCommand returns "cap rotate apply".
func (a *app) applyCommand() *cobra.Command {
	r := new(applying)
	cmd := &cobra.Command{
		Use:   "apply --to KID --overlap TIME --root FILE --reason TEXT",
		Short: "Have another key version sign",
		Long: "apply has the key version KID sign from now on (stage 2). The one that signed\n" +
			"until now verifies until T1: --t1, or --overlap from now. Before anything is\n" +
			"published, a worker proves that it signs with KID. 'cap keys generate' makes a\n" +
			"version to rotate to.",
		Example: "  cap rotate apply --to KID --overlap 30d --root root.key --reason yearly",
		Args:    noArgs,
	}
	r.register(cmd)
	r.changeFlags.register(cmd)
	cmd.RunE = a.changing(&r.changeFlags, r.draft(a))
	return required(cmd, "to")
}

// planCommand returns "cap rotate plan", which is apply's dry run.
func (a *app) planCommand() *cobra.Command {
	r := new(applying)
	cmd := &cobra.Command{
		Use:   "plan --to KID (--t1 TIME | --overlap TIME)",
		Short: "Show what apply would change, and for whom",
		Long: "plan shows what 'cap rotate apply' would change and for whom, and changes\n" +
			"nothing. It needs neither a root key nor a reason.",
		Example: "  cap rotate plan --to KID --overlap 30d",
		Args:    noArgs,
	}
	r.register(cmd)
	r.changeFlags.register(cmd)
	change := a.changing(&r.changeFlags, r.draft(a))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r.dryRun = true
		return change(cmd, args)
	}
	return required(cmd, "to")
}

// register declares the flags that are apply's own.
func (r *applying) register(cmd *cobra.Command) {
	set := cmd.Flags()
	set.StringVar(&r.to, "to", "", "key version `KID` is to sign, or that SPKI SHA-256 or JWK thumbprint")
	r.end.register(set)
	set.BoolVar(&r.signAccepted, "sign-accepted", false, "until T1, sign with the old one for those who ask for its kid")
	r.cmd = cmd
}

// draft begins a rotation of the key that the kid belongs to.
func (r *applying) draft(a *app) draft {
	return func(ctx context.Context, c *change) (capsign.Keyring, error) {
		t1, overlap, err := r.parse()
		switch {
		case err != nil:
			return capsign.Keyring{}, err
		case t1.IsZero() && overlap == 0:
			return capsign.Keyring{}, misuse("Missing: --t1 or --overlap.")
		}
		key, err := a.published(ctx, c, r.to)
		if err != nil {
			return capsign.Keyring{}, err
		}
		next, err := rotation.Apply(c.held, key.Name, capsign.VersionOf(key), t1, overlap, c.Change)
		if err == nil && r.cmd.Flags().Changed("sign-accepted") {
			next.Keys[keyIndex(next, key.Name)].SignAccepted = r.signAccepted
		}
		return next, unnamed(err, key.Name)
	}
}

// keyIndex returns where in the keyring the key of that name is, or -1.
func keyIndex(k capsign.Keyring, name string) int {
	return slices.IndexFunc(k.Keys, func(r capsign.KeyRotation) bool { return r.Name == name })
}

// published returns the key version on the broker that goes by id, as far as
// --pool and --key leave it.
func (a *app) published(ctx context.Context, c *change, id string) (capsign.Key, error) {
	ring, err := capsign.FetchKeySet(ctx, c.nc)
	if err != nil {
		return capsign.Key{}, err
	}
	return capsign.NewKeySet(a.flags.narrow(ring.Keys())...).Key(id)
}

// unnamed explains that the keyring does not name a key.
func unnamed(err error, name string) error {
	if err == nil || codeOf(err) != capsign.KeyUnknown {
		return err
	}
	return &fault{
		code: capsign.KeyUnknown, sentence: "The keyring names no key " + name + ".",
		hint: "'cap rotate status' lists those it does; 'cap keyring add' names a further one.",
	}
}

// rollbackCommand returns "cap rotate rollback".
func (a *app) rollbackCommand() *cobra.Command {
	f, to := new(changeFlags), new(end)
	cmd := &cobra.Command{
		Use:   "rollback --root FILE --reason TEXT",
		Short: "Go back one stage",
		Long: "rollback takes a key back one stage. From 3 to 2: the old version verifies\n" +
			"again, until --t1 or for --overlap, or for as long as it did before. From 2 to\n" +
			"1: the old version signs again and the new one no longer verifies. Further steps\n" +
			"lead to the versions before.",
		Example: "  cap rotate rollback --root root.key --reason \"clients were not ready\"",
		Args:    noArgs,
	}
	f.register(cmd)
	to.register(cmd.Flags())
	cmd.RunE = a.changing(f, func(_ context.Context, c *change) (capsign.Keyring, error) {
		t1, overlap, err := to.parse()
		if err != nil {
			return capsign.Keyring{}, err
		}
		name, err := a.flags.chooseRotation(c.held.Keyring())
		if err != nil {
			return capsign.Keyring{}, err
		}
		next, err := rotation.Rollback(c.held, name, t1, overlap, c.Change)
		return next, unnamed(err, name)
	})
	return cmd
}

// chooseRotation returns the name of the key that --key names, or of the only
// one that --pool leaves.
func (f *flags) chooseRotation(k *capsign.Keyring) (string, error) {
	var names []string
	for _, r := range k.Keys {
		if (f.key == "" || f.key == r.Name) && (f.pool == "" || f.pool == r.Pool) {
			names = append(names, r.Name)
		}
	}
	switch len(names) {
	case 0:
		return "", capsign.KeyUnknown
	case 1:
		return names[0], nil
	}
	return "", &capsign.AmbiguousError{What: "key", Choices: names}
}

// revokeCommand returns "cap rotate revoke".
func (a *app) revokeCommand() *cobra.Command {
	f := new(changeFlags)
	var kid, to string
	cmd := &cobra.Command{
		Use:   "revoke --kid KID [--to KID] --root FILE --reason TEXT",
		Short: "Never accept a key version again",
		Long: "revoke has a key version never sign or verify again, at once and for good: what\n" +
			"it signed before does not count either. Where it is the one that signs, the\n" +
			"other version of the rotation signs in its place, or the one that --to names.",
		Example: "  cap rotate revoke --kid KID --root root.key --reason \"laptop stolen\"",
		Args:    noArgs,
	}
	f.register(cmd)
	cmd.Flags().StringVar(&kid, "kid", "", "revoke key version `KID`, or that SPKI SHA-256 or JWK thumbprint")
	cmd.Flags().StringVar(&to, "to", "", "key version `KID` is to sign in its place")
	cmd.Flags().BoolVar(&f.unchecked, "unchecked", false, "do not wait for a worker to prove that it signs with the other")
	cmd.RunE = a.changing(f, func(ctx context.Context, c *change) (capsign.Keyring, error) {
		var replacement *capsign.KeyVersion
		if to != "" {
			key, err := a.published(ctx, c, to)
			if err != nil {
				return capsign.Keyring{}, err
			}
			replacement = new(capsign.VersionOf(key))
		}
		return rotation.Revoke(c.held, kid, replacement, c.Change)
	})
	return required(cmd, "kid")
}
