package cli

import (
	"context"
	"fmt"
	"strings"

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
			"registry, and says which of them count. One is enough. The public keys come from\n" +
			"the broker, where no worker needs to run, or from a file. Exit status 0 means\n" +
			"valid, 1 that it is not, all else that it could not be told or is not signed.",
		Example: "  cap registry verify registry.example/team/app:v1",
		Args:    oneArg("REF"),
	}
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		return a.bounded(func(ctx context.Context) error { return a.registryVerify(ctx, args[0], keyring) })(cmd, args)
	}
	cmd.Flags().StringVar(&keyring.path, "keyring", "", "take public keys from `FILE` alone; - is stdin")
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
	// KID is the key version of a signature that counts.
	KID string `json:"kid,omitzero"`
	// Signatures has every signature that is attached.
	Signatures []attachedSignature `json:"signatures"`
	// Code is that of the signature that came closest or, of one that counts, what
	// else there is to know. Message and Hint explain it.
	Code    string `json:"code,omitzero"`
	Message string `json:"message,omitzero"`
	Hint    string `json:"hint,omitzero"`
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
	check, note, err := a.verifier(ctx, keyring)
	if err != nil {
		return err
	}
	client, err := registry.New(registry.Config{Timeout: a.flags.timeout})
	if err != nil {
		return registryFault(err)
	}
	digest, findings, err := client.Verify(ctx, ref, check)
	err = coded(registryFault(err))
	result := verifiedArtifact{Valid: err == nil, Ref: printable(ref), Digest: digest, Code: string(note), Signatures: []attachedSignature{}}
	for _, f := range findings {
		result.add(f)
	}
	if !a.flags.json {
		if failure := a.print([]byte(result.text())); failure != nil {
			return failure
		}
		return err
	}
	if err == nil {
		return a.printJSON(result)
	}
	p := a.problem(nil, err)
	result.Code, result.Message, result.Hint = p.Code, p.Message, p.Hint
	return a.concluded(result, err)
}

// add adds a signature to the result.
func (r *verifiedArtifact) add(f registry.Finding) {
	one := attachedSignature{Referrer: f.Referrer, KID: printable(cut(f.KID, maxShown)), Valid: f.Err == nil}
	if f.Err == nil && r.KID == "" {
		r.KID = one.KID
	}
	if f.Err != nil {
		one.Code = capsign.CodeOf(f.Err)
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
		fmt.Fprintf(&page, "digest: %s\n", r.Digest)
	}
	if note := capsign.Code(r.Code); r.Valid && note.Known() {
		fmt.Fprintf(&page, "%s: %s\n", note, note.Sentence())
	}
	return page.String()
}
