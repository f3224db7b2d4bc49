package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/registry"
)

// registryVerifyCommand returns "cap registry verify".
func (a *app) registryVerifyCommand() *cobra.Command {
	keyring := input{flag: "--keyring"}
	cmd := &cobra.Command{
		Use:   "verify REF",
		Short: "Verify the signatures that are attached to an artifact",
		Long: "verify checks every signature that is attached to an artifact in an OCI\n" +
			"registry, and says which of them count, as 'cap verify-signature' does. One is\n" +
			"enough. Exit status 0 means valid, 1 that it is not, all else that it could not\n" +
			"be told or is not signed.",
		Example: "  cap registry verify registry.example/team/app:v1",
		Args:    oneArg("REF"),
	}
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		return a.bounded(func(ctx context.Context) error { return a.registryVerify(ctx, args[0], keyring) })(cmd, args)
	}
	cmd.Flags().StringVar(&keyring.path, "keyring", "", keyringUsage)
	a.trust.register(cmd.Flags())
	return cmd
}

// oneArg refuses everything but one argument, which is called name.
func oneArg(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return misuse("Missing: %s.", name)
		case len(args) > 1:
			return misuse("Unexpected argument %q.", args[1])
		}
		return nil
	}
}

// verifiedArtifact is what "cap registry verify --json" prints.
type verifiedArtifact struct {
	Valid  bool   `json:"valid"`
	Ref    string `json:"ref"`
	Digest string `json:"digest,omitzero"`
	// KID is the key version of a signature that counts; Version is the keyring's,
	// State is active or accepted, the latter Until T1.
	KID     string        `json:"kid,omitzero"`
	Version uint64        `json:"keyring_version,omitzero"`
	State   capsign.State `json:"state,omitzero"`
	Until   time.Time     `json:"until,omitzero"`
	// Signatures has every signature that is attached.
	Signatures []attachedSignature `json:"signatures"`
	// Code is that of the signature that came closest or, where one counts,
	// unpinned or nothing. Message and Hint explain it.
	Code    string `json:"code,omitzero"`
	Message string `json:"message,omitzero"`
	Hint    string `json:"hint,omitzero"`

	note string // why the key of KID counts, for a person
}

// attachedSignature is a signature that is attached to an artifact.
type attachedSignature struct {
	Referrer string       `json:"referrer"`
	KID      string       `json:"kid,omitzero"`
	Valid    bool         `json:"valid"`
	Code     capsign.Code `json:"code,omitzero"`
}

// registryVerify verifies an artifact's signatures and says which of them count.
func (a *app) registryVerify(ctx context.Context, ref string, keyring input) error {
	j, err := a.judge(ctx, keyring)
	if err != nil {
		return err
	}
	client, err := registry.New(registry.Config{Timeout: a.flags.timeout})
	if err != nil {
		return registryFault(err)
	}
	digest, findings, err := client.Verify(ctx, ref, j.Verify)
	result := verifiedArtifact{Ref: printable(ref), Digest: digest, Signatures: []attachedSignature{}}
	for _, f := range findings {
		result.add(f, j)
	}
	if err = coded(registryFault(err)); err == nil {
		result.Valid = true
	}
	return a.reportVerified(result, err)
}

// reportVerified prints what was found and returns err.
func (a *app) reportVerified(result verifiedArtifact, err error) error {
	switch {
	case !a.flags.json:
		if failure := a.print([]byte(result.text())); failure != nil {
			return failure
		}
		return err
	case err == nil:
		return a.printJSON(result)
	}
	p := a.problem(nil, err)
	result.Code, result.Message, result.Hint = p.Code, p.Message, p.Hint
	return a.concluded(result, err)
}

// add adds a signature to the result. The first one that counts speaks for the
// artifact.
func (r *verifiedArtifact) add(f registry.Finding, j judge) {
	one := attachedSignature{Referrer: f.Referrer, KID: printable(cut(f.KID, maxShown)), Valid: f.Err == nil}
	if f.Err != nil {
		one.Code = capsign.CodeOf(f.Err)
	} else if is, err := j.judge(f.KID); err == nil && r.KID == "" {
		v := is.verdict()
		r.KID, r.Version, r.State, r.Until, r.Code, r.note = v.KID, v.Version, v.State, v.Until, string(v.Code), is.text()
	}
	r.Signatures = append(r.Signatures, one)
}

// text returns the result for a person: nothing, where nothing was found out.
func (r *verifiedArtifact) text() string {
	var page strings.Builder
	for _, one := range r.Signatures {
		switch {
		case one.Valid:
			fmt.Fprintf(&page, "valid: %s\n", one.KID)
		case one.KID == "":
			fmt.Fprintf(&page, "does not count: %s\n", one.Code)
		default:
			fmt.Fprintf(&page, "does not count: %s: %s\n", one.KID, one.Code)
		}
	}
	if r.Valid {
		fmt.Fprintf(&page, "digest: %s\n%s\n", r.Digest, r.note)
	}
	return page.String()
}
