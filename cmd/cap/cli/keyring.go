package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// keyringCommand returns "cap keyring" with its commands.
func (a *app) keyringCommand() *cobra.Command {
	keyring := a.group("keyring", "Begin, show, export, trust and renew the keyring")
	keyring.Long = "The keyring is a signed statement of which key versions sign and verify, and\n" +
		"until when. Root keys sign it; who verifies pins their fingerprints. What it\n" +
		"says of keys is changed by 'cap rotate'."
	keyring.AddCommand(a.initCommand(), a.trustCommand(), a.showCommand(), a.exportKeyringCommand(),
		a.addCommand(), a.renewCommand(), a.rootsCommand())
	a.trust.register(keyring.PersistentFlags())
	return keyring
}

// trustCommand returns "cap keyring trust".
func (a *app) trustCommand() *cobra.Command {
	var threshold int
	var replace, dryRun bool
	cmd := &cobra.Command{
		Use:   "trust FINGERPRINT…",
		Short: "Pin root keys",
		Long: "trust has this user believe the keyrings that these root keys have signed, from\n" +
			"then on and no others. Compare the fingerprints over another way than the\n" +
			"broker; 'cap keyring init' prints them.",
		Example: "  cap keyring trust FINGERPRINT",
		Args:    cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			return coded(a.pin(capsign.Trust{Roots: args, Threshold: threshold}, replace, dryRun))
		},
	}
	cmd.Flags().IntVar(&threshold, "threshold", 0, "believe what `N` of these roots have signed (default 1)")
	cmd.Flags().BoolVar(&replace, "replace", false, "forget the roots and the keyring known until now")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would change")
	return cmd
}

// pinning is what "cap keyring trust --json" prints.
type pinning struct {
	Roots     []string `json:"roots"`
	Threshold int      `json:"threshold"`
	State     string   `json:"state"`
	DryRun    bool     `json:"dry_run,omitzero"`
}

// pin remembers whom to believe.
func (a *app) pin(trust capsign.Trust, replace, dryRun bool) error {
	if len(trust.Roots) == 0 {
		return misuse("Missing: FINGERPRINT.")
	}
	if err := checkFingerprints(trust.Roots, trust.Threshold); err != nil {
		return err
	}
	if len(a.trust.roots) > 0 {
		return misuse("The fingerprints are arguments here; --root-fingerprint is for other commands.")
	}
	b, err := a.belief()
	if err != nil && !replace {
		return err
	}
	if b.path, _ = a.trust.statePath(); b.path == "" {
		return &fault{
			code: capsign.BadRequest, sentence: "There is no home directory to remember the root in.",
			hint: "name a file with --state or CAP_STATE.",
		}
	}
	if same := sameTrust(b.Trust, trust); b.Pinned() && !same && !replace {
		return &fault{
			code: capsign.BadRequest, sentence: "Other roots are pinned here already.",
			hint: "'cap keyring show' lists them; --replace forgets them, --state FILE keeps these beside them.",
		}
	} else if !same {
		b.Mark = rotation.Mark{Trust: trust}
	}
	if !dryRun {
		if err := b.keep(); err != nil {
			return err
		}
	}
	result := pinning{trust.Roots, max(1, trust.Threshold), b.path, dryRun}
	if a.flags.json {
		return a.printJSON(result)
	}
	return a.print([]byte(result.text()))
}

// text lays out what was pinned.
func (p pinning) text() string {
	var page strings.Builder
	for _, root := range p.Roots {
		line(&page, "root", root)
	}
	line(&page, "threshold", fmt.Sprintf("%d of %d", p.Threshold, len(p.Roots)))
	if p.DryRun {
		line(&page, "dry run", "nothing was changed")
	} else {
		line(&page, "kept in", p.State)
	}
	return page.String()
}

// showCommand returns "cap keyring show".
func (a *app) showCommand() *cobra.Command {
	keyring := input{flag: "--keyring"}
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the keyring and its roots",
		Long: "show shows the keyring in force, the fingerprints of its roots and which of them\n" +
			"have signed it. Where no root is pinned it says so, and shows what the broker\n" +
			"says.",
		Example: "  cap keyring show",
		Args:    noArgs,
		RunE:    a.bounded(func(ctx context.Context) error { return a.show(ctx, keyring) }),
	}
	cmd.Flags().StringVar(&keyring.path, "keyring", "", "look into `FILE`, an exported keyring, and use no network")
	return cmd
}

// shownKeyring is what "cap keyring show --json" prints.
type shownKeyring struct {
	Version   uint64       `json:"version"`
	Hash      string       `json:"hash"`
	Issued    time.Time    `json:"issued"`
	Expires   time.Time    `json:"expires"`
	Expired   bool         `json:"expired"`
	Roots     []string     `json:"roots"`
	Threshold int          `json:"threshold"`
	SignedBy  []string     `json:"signed_by"`
	Pinned    bool         `json:"pinned"`
	State     string       `json:"state,omitzero"`
	Keys      []keyListing `json:"keys"`
}

// keyListing is a key with the kid that signs.
type keyListing struct {
	Key    string `json:"key"`
	Pool   string `json:"pool"`
	Active string `json:"active"`
}

// show shows the keyring.
func (a *app) show(ctx context.Context, keyring input) error {
	s, err := a.sight(ctx, keyring)
	if err != nil {
		return err
	}
	k, now := s.Signed.Keyring(), s.Now(time.Now().UTC())
	shown := shownKeyring{
		Version: k.Version, Hash: s.Signed.Hash(), Issued: k.Issued, Expires: k.Expires, Expired: k.Expired(now),
		Roots: k.Roots.Fingerprints(), Threshold: k.Roots.Threshold, SignedBy: s.Signed.SignedBy(k.Roots),
		Pinned: s.pinned, State: s.path,
	}
	for _, r := range k.Keys {
		shown.Keys = append(shown.Keys, keyListing{r.Name, r.Pool, r.Active()})
	}
	if a.flags.json {
		return a.printJSON(shown)
	}
	return a.print([]byte(shown.text(now)))
}

// text lays the keyring out for a terminal of 80 columns.
func (s shownKeyring) text(now time.Time) string {
	var page strings.Builder
	line(&page, "keyring", fmt.Sprintf("version %d, issued %s", s.Version, s.Issued.Format(time.RFC3339)))
	line(&page, "expires", s.Expires.Format(time.RFC3339)+" ("+until(s.Expires.Sub(now))+")")
	line(&page, "hash", s.Hash)
	line(&page, "threshold", fmt.Sprintf("%d of %d roots", s.Threshold, len(s.Roots)))
	for _, root := range s.Roots {
		line(&page, "root", root)
	}
	for _, root := range s.SignedBy {
		line(&page, "signed by", root)
	}
	if s.Pinned {
		line(&page, "trust", "pinned")
	} else {
		line(&page, "UNPINNED", "no root is pinned here: compare the roots, then 'cap keyring trust FINGERPRINT'")
	}
	for _, key := range s.Keys {
		line(&page, "key", key.Key+" of pool "+key.Pool)
		line(&page, "active", key.Active)
	}
	return page.String()
}

// exportKeyringCommand returns "cap keyring export".
func (a *app) exportKeyringCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the keyring to a file",
		Long: "export writes the keyring with its history, its signatures and its expiry: what\n" +
			"'cap verify-signature --keyring' reads, where there is no network.",
		Example: "  cap keyring export --out keyring.json",
		Args:    noArgs,
		RunE:    a.bounded(func(ctx context.Context) error { return a.exportKeyring(ctx, out) }),
	}
	cmd.Flags().StringVar(&out, "out", "", "write to `FILE`; - is stdout")
	return cmd
}

// exportKeyring writes the chain of keyrings.
func (a *app) exportKeyring(ctx context.Context, out string) error {
	if err := a.checkOutput(out); err != nil {
		return err
	}
	s, err := a.sight(ctx, input{})
	if err != nil {
		return err
	}
	data, err := capsign.EncodeChain(s.history)
	if err != nil {
		return err
	}
	if !s.pinned {
		a.advise("no root is pinned here, so nobody vouches for this keyring but whoever wrote it to the broker.")
	}
	if !a.flags.json || !isStdout(out) {
		if err := a.write(ctx, out, append(data, '\n')); err != nil {
			return err
		}
	}
	if a.flags.json {
		return a.printJSON(exportedKeyring{s.Signed.Keyring().Version, len(s.history), s.pinned, data})
	}
	return nil
}

// exportedKeyring is what "cap keyring export --json" prints.
type exportedKeyring struct {
	Version  uint64         `json:"version"`
	Keyrings int            `json:"keyrings"`
	Pinned   bool           `json:"pinned"`
	Keyring  jsontext.Value `json:"keyring"`
}
