package cli

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/bundle"
)

// bundleSuffix is what cosign's users call a bundle's file after its message's.
const bundleSuffix = ".sigstore.json"

// signFileCommand returns "cap sign".
func (a *app) signFileCommand() *cobra.Command {
	var format, kid, out string
	cmd := &cobra.Command{
		Use:   "sign --format bundle FILE",
		Short: "Sign a file in a format of others",
		Long: "sign has a worker sign a file and writes the signature as a sigstore bundle,\n" +
			"which 'cosign verify-blob --key' and 'cap verify-bundle' accept. Files up to\n" +
			"760 KiB are signed themselves, by an Ed25519 or P-256 key; of others, it is a\n" +
			"statement about their SHA-256. The kid goes to stderr.",
		Example: "  cap sign --format bundle app.tar",
		Args:    oneArg("FILE"),
	}
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		in := input{flag: "FILE", path: args[0]}
		return a.bounded(func(ctx context.Context) error { return a.signFile(ctx, in, format, kid, out) })(cmd, args)
	}
	cmd.Flags().StringVar(&format, "format", "bundle", "write `FORMAT`: bundle")
	cmd.Flags().StringVar(&kid, "kid", "", "sign with key version `KID`; finds its pool and key by itself")
	cmd.Flags().StringVar(&out, "out", "", "write to `FILE`, not FILE"+bundleSuffix+"; - is stdout")
	return cmd
}

// signedFile is what "cap sign --json" prints.
type signedFile struct {
	KID    string         `json:"kid"`
	Format string         `json:"format"`
	Out    string         `json:"out,omitzero"`
	Bundle jsontext.Value `json:"bundle"`
}

// signFile has a file signed and writes the bundle.
func (a *app) signFile(ctx context.Context, in input, format, kid, out string) error {
	if format != "bundle" {
		return misuse("There is no format %q; there is bundle.", format)
	}
	if out == "" && in.path != "-" {
		out = in.path + bundleSuffix
	}
	if err := a.checkOutput(out, in); err != nil {
		return err
	}
	data, kid, err := a.bundleOf(ctx, in, kid)
	if err != nil {
		return err
	}
	if !a.flags.json || !isStdout(out) {
		if err := a.write(ctx, out, append(data, '\n')); err != nil {
			return err
		}
	}
	if a.flags.json {
		return a.printJSON(signedFile{KID: kid, Format: format, Out: out, Bundle: data})
	}
	fmt.Fprintf(a.stderr, "kid: %s\n", kid)
	return nil
}

// bundleOf has a file signed through the queue.
func (a *app) bundleOf(ctx context.Context, in input, kid string) (data []byte, signedBy string, err error) {
	file, err := a.open(ctx, in)
	if err != nil {
		return nil, "", err
	}
	defer file.Close()
	signer, closeQueue, err := a.openQueue(ctx, kid)
	if err != nil {
		return nil, "", err
	}
	defer closeQueue()
	type bundled struct {
		data []byte
		kid  string
	}
	b, err := await(ctx, func() (bundled, error) {
		data, kid, err := bundle.SignFile(ctx, in.base(), file, signer)
		return bundled{data, kid}, err
	})
	return b.data, b.kid, in.unread(err, a.flags.timeout)
}

// verifyBundleCommand returns "cap verify-bundle".
func (a *app) verifyBundleCommand() *cobra.Command {
	sig, keyring := input{flag: "--bundle"}, input{flag: "--keyring"}
	cmd := &cobra.Command{
		Use:   "verify-bundle FILE",
		Short: "Check the signature of a file that is in a sigstore bundle",
		Long: "verify-bundle checks that a sigstore bundle is the signature of a file, and that\n" +
			"the key still counts, as 'cap verify-signature' does. Exit status 0 means valid,\n" +
			"1 that it is not, all else that it could not be told.",
		Example: "  cap verify-bundle app.tar",
		Args:    oneArg("FILE"),
	}
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		in := input{flag: "FILE", path: args[0]}
		return a.bounded(func(ctx context.Context) error { return a.verifyBundle(ctx, in, sig, keyring) })(cmd, args)
	}
	cmd.Flags().StringVar(&sig.path, "bundle", "", "the bundle is in `FILE`, not FILE"+bundleSuffix+"; - is stdin")
	cmd.Flags().StringVar(&keyring.path, "keyring", "", keyringUsage)
	a.trust.register(cmd.Flags())
	return cmd
}

// verifyBundle checks a file's bundle and says whether it is valid.
func (a *app) verifyBundle(ctx context.Context, in, sig, keyring input) error {
	if sig.path == "" {
		sig.path = in.path + bundleSuffix
	}
	data, err := a.read(ctx, sig, bundle.MaxSize)
	if err != nil {
		return err
	}
	b, err := bundle.Parse(data)
	if err != nil {
		return notBundle(err)
	}
	j, err := a.judge(ctx, keyring)
	if err != nil {
		return err
	}
	if err := a.verifyFile(ctx, in, b, j.Verify); err != nil {
		return &unverified{kid: b.KID(), err: err}
	}
	is, err := j.judge(b.KID())
	if err != nil {
		return err
	}
	if a.flags.json {
		return a.printJSON(is.verdict())
	}
	return a.printf("valid: %s\n%s\n", is.key.KID, is.text())
}

// keyringUsage describes --keyring.
const keyringUsage = "use `FILE` alone: an exported keyring or, unpinned, a JWKS or JWK"

// verdict returns the judgement on a key as JSON has it, where its signature is
// valid.
func (is judgement) verdict() verdict {
	result := verdict{Valid: true, KID: is.key.KID, Version: is.version, State: is.state, Until: is.until}
	if is.version == 0 {
		result.Code = capsign.Unpinned
	}
	return result
}

// verifyFile checks that a bundle is a file's.
func (a *app) verifyFile(ctx context.Context, in input, b *bundle.Bundle, check bundle.Check) error {
	file, err := a.open(ctx, in)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = await(ctx, func() (struct{}, error) { return struct{}{}, b.VerifyFile(file, check) })
	return in.unread(err, a.flags.timeout)
}

// notBundle explains why a file is no bundle that cap can verify.
func notBundle(err error) error {
	f := &fault{code: codeOf(err), sentence: "--bundle is not a sigstore bundle.", hint: "make one with 'cap sign --format bundle FILE'."}
	if f.code == capsign.UnsupportedScheme {
		f.sentence = "--bundle is of a kind that cap does not verify: its key is in a certificate, or it is no signature."
	}
	return f
}
