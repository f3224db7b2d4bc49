package cli

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// beginning is what the flags of "cap keyring init" ask for.
type beginning struct {
	changeFlags
	threshold    int
	signAccepted bool
	replace      bool
}

// initCommand returns "cap keyring init".
func (a *app) initCommand() *cobra.Command {
	f := new(beginning)
	cmd := &cobra.Command{
		Use:   "init --root FILE… --reason TEXT",
		Short: "Make root keys and the first keyring",
		Long: "init makes the root keys that there are no files of, protected by a passphrase,\n" +
			"and publishes the first keyring: it names the key that signs now in every pool,\n" +
			"or in the one that --pool names, once a worker has proved that it does. This\n" +
			"user then believes keyrings of these roots.",
		Example: "  cap keyring init --root root.key --reason \"first\"",
		Args:    noArgs,
	}
	f.register(cmd)
	cmd.Flags().IntVar(&f.threshold, "threshold", 1, "`N` of the roots must sign each keyring")
	cmd.Flags().BoolVar(&f.signAccepted, "sign-accepted", false, "workers sign with an accepted key for those who ask for its kid")
	cmd.Flags().BoolVar(&f.replace, "replace", false, "begin although there is a keyring that others made")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := cmp.Or(f.check(), f.checkRoots(), a.checkOutput(f.signOnly)); err != nil {
			return err
		}
		var specs []rootSpec
		if !f.dryRun {
			var err error
			if specs, err = a.unlock(cmd.Context(), f.roots, f.passphrases, true); err != nil {
				return err
			}
		}
		return a.bounded(func(ctx context.Context) error { return a.begin(ctx, f, specs) })(cmd, args)
	}
	return cmd
}

// checkRoots refuses a threshold that the roots cannot reach.
func (f *beginning) checkRoots() error {
	switch {
	case len(f.roots) == 0:
		return misuse("Missing: --root.")
	case len(f.roots) > capsign.MaxRoots:
		return misuse("There can be %d roots at most.", capsign.MaxRoots)
	case f.threshold < 1 || f.threshold > len(f.roots):
		return misuse("%d roots cannot reach a threshold of %d.", len(f.roots), f.threshold)
	}
	return nil
}

// begin makes the first keyring.
func (a *app) begin(ctx context.Context, f *beginning, specs []rootSpec) error {
	b, err := a.belief()
	if err != nil {
		return err
	}
	nc, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := checkNone(ctx, nc, b, f.replace); err != nil {
		return err
	}
	keys, err := a.firstKeys(ctx, nc, f)
	if err != nil {
		return err
	}
	c := &change{changeFlags: &f.changeFlags, nc: nc, Change: f.change(time.Now())}
	if f.dryRun {
		return a.showBeginning(f, keys, c)
	}
	if err := a.checkNewlyActive(ctx, c, &capsign.Keyring{Keys: keys}); err != nil {
		return err
	}
	return a.signFirst(ctx, f, c, b, specs, keys)
}

// signFirst makes the roots that are missing, has all of them sign the first
// keyring, and publishes it.
func (a *app) signFirst(ctx context.Context, f *beginning, c *change, b belief, specs []rootSpec, keys []capsign.KeyRotation) error {
	made := f.absent()
	var err error
	if c.signers, err = a.openRoots(ctx, c.nc, specs, true); err != nil {
		return err
	}
	next, err := rotation.Init(rootsOf(c.signers, f.threshold), keys, c.Change)
	if err != nil {
		return changeFault(err)
	}
	signed, err := rotation.Sign(ctx, next, c.signers...)
	if err != nil {
		return err
	}
	if b.Mark, err = trusting(b.Mark, next.Roots); err != nil {
		return err
	}
	result := begun{
		changed: changed{
			Version: 1, Hash: signed.Hash(), Published: f.signOnly == "", Missing: missing(nil, signed), File: f.signOnly,
			Plan: rotation.Describe(nil, &next, c.Now),
		},
		Roots: next.Roots.Fingerprints(), Threshold: next.Roots.Threshold, State: b.path, Made: made,
	}
	if result.Published {
		err = a.publish(ctx, c.nc, b, nil, signed)
	} else {
		err = a.writeSigned(ctx, f.signOnly, signed)
	}
	if err != nil {
		return err
	}
	return a.printBeginning(result, c.Now)
}

// trusting returns the mark that believes the roots.
func trusting(m rotation.Mark, roots capsign.Roots) (rotation.Mark, error) {
	trust := capsign.Trust{Roots: roots.Fingerprints(), Threshold: roots.Threshold}
	if m.Pinned() && !sameTrust(m.Trust, trust) {
		return m, othersPinned()
	}
	m.Trust = trust
	return m, nil
}

// othersPinned says that the state file is about another keyring.
func othersPinned() error {
	return &fault{
		code: capsign.BadRequest, sentence: "Another keyring's roots are pinned here already.",
		hint: "keep this one beside it with --state FILE.",
	}
}

// checkNone refuses to begin where there is a keyring already, here or on the
// broker.
func checkNone(ctx context.Context, nc *nats.Conn, b belief, replace bool) error {
	chain, err := rotation.Chain(ctx, nc)
	switch {
	case err != nil && codeOf(err) != capsign.KeyringMissing:
		return err
	case len(chain) > 0 && !replace:
		return &fault{
			code: capsign.BadRequest, sentence: fmt.Sprintf("There is a keyring already, version %d.", chain[len(chain)-1].Keyring().Version),
			hint: "'cap keyring show' shows it, 'cap rotate' changes it; --replace writes over one that others made.",
		}
	case b.Signed != nil:
		return othersPinned()
	}
	return nil
}

// absent lists the root key files that are to be made.
func (f *beginning) absent() []string {
	made := []string{}
	for _, text := range f.roots {
		if !(rootSpec{text: text}).exists() {
			made = append(made, text)
		}
	}
	return made
}
