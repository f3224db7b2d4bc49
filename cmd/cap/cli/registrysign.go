package cli

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/registry"
)

// signing is what the flags of "cap registry sign" ask for.
type signing struct {
	kid       string
	fromStdin bool
	jobs      int
}

// registrySignCommand returns "cap registry sign".
func (a *app) registrySignCommand() *cobra.Command {
	var s signing
	cmd := &cobra.Command{
		Use:   "sign REF… | --from-stdin",
		Short: "Sign artifacts and attach the signatures",
		Long: "sign has a worker sign images or other artifacts in OCI registries, each by the\n" +
			"digest that its REF leads to now, and attaches what 'cosign verify --key' and\n" +
			"'cap registry verify' accept. It prints a line for each: REF, digest, kid, and\n" +
			"ok or the code that says why not. What the key has signed already stays as it\n" +
			"is. Exit status 0 means that all are signed; else it is that of the worst code.\n" +
			"--timeout is for each artifact. The credentials are docker's.",
		Example: "  cap registry sign registry.example/team/app:v1",
		Args:    cobra.ArbitraryArgs,
		RunE:    a.unbounded(func(ctx context.Context, args []string) error { return a.registrySign(ctx, args, s) }),
	}
	set := cmd.Flags()
	set.StringVar(&s.kid, "kid", "", "sign with key version `KID`; finds its pool and key by itself")
	set.BoolVar(&s.fromStdin, "from-stdin", false, "read the REFs from stdin, one in a line")
	set.IntVar(&s.jobs, "jobs", 8, "work on `N` artifacts at once")
	return cmd
}

// signedArtifact is what "cap registry sign --json" prints of an artifact.
type signedArtifact struct {
	Ref      string `json:"ref"`
	Digest   string `json:"digest,omitzero"`
	KID      string `json:"kid,omitzero"`
	Referrer string `json:"referrer,omitzero"`
	// Present says that it had been signed before.
	Present bool `json:"present,omitzero"`
	// Code, Message and Hint say why it is not signed and what to do about it.
	Code    string `json:"code,omitzero"`
	Message string `json:"message,omitzero"`
	Hint    string `json:"hint,omitzero"`
}

// signedArtifacts is what "cap registry sign --json" prints: Code, Message and
// Hint where one is not signed.
type signedArtifacts struct {
	Signed  int              `json:"signed"`
	Failed  int              `json:"failed"`
	Items   []signedArtifact `json:"items"`
	Code    string           `json:"code,omitzero"`
	Message string           `json:"message,omitzero"`
	Hint    string           `json:"hint,omitzero"`
}

// registrySign signs every artifact that is named and reports on each.
func (a *app) registrySign(ctx context.Context, args []string, s signing) error {
	switch {
	case s.fromStdin && len(args) > 0:
		return misuse("--from-stdin and REFs exclude each other.")
	case !s.fromStdin && len(args) == 0:
		return misuse("Missing: REF, or --from-stdin.")
	case s.jobs < 1 || s.jobs > 64:
		return misuse("--jobs must be between 1 and 64.")
	}
	client, err := registry.New(registry.Config{Timeout: a.flags.timeout, Jobs: s.jobs})
	if err != nil {
		return registryFault(err)
	}
	signer, closeQueue, err := a.openQueue(ctx, s.kid)
	if err != nil {
		return err
	}
	defer closeQueue()
	refs, total := slices.Values(args), len(args)
	if s.fromStdin {
		refs, total = a.lines(ctx), -1
	}
	return a.reportSigned(ctx, client.SignMany(ctx, refs, signer), total)
}

// reportSigned prints what became of each artifact as soon as it is known, and
// returns the worst of it.
func (a *app) reportSigned(ctx context.Context, outcomes iter.Seq2[registry.Result, error], total int) error {
	all := signedArtifacts{Items: []signedArtifact{}}
	var errs []error
	bar := a.newProgress(total)
	for result, err := range outcomes {
		err = a.deny.explain(coded(registryFault(err)))
		item := a.describe(result, err)
		if err != nil {
			errs = append(errs, err)
		}
		all.Items = append(all.Items, item)
		if err := bar.around(func() error { return a.printSigned(item) }); err != nil {
			return err
		}
	}
	bar.finish()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	all.Failed, all.Signed = len(errs), len(all.Items)-len(errs)
	return a.conclude(all, errs)
}

// describe puts an outcome into words.
func (a *app) describe(result registry.Result, err error) signedArtifact {
	item := signedArtifact{Ref: printable(result.Ref), Digest: result.Digest, KID: result.KID, Referrer: result.Referrer, Present: result.Present}
	if err != nil {
		p := a.problem(nil, err)
		item.Code, item.Message, item.Hint = p.Code, p.Message, p.Hint
	}
	return item
}

// printSigned prints the line of an artifact.
func (a *app) printSigned(item signedArtifact) error {
	if a.flags.json {
		return nil
	}
	return a.printf("%s %s %s %s\n", item.Ref, cmp.Or(item.Digest, "-"), cmp.Or(item.KID, "-"), cmp.Or(item.Code, "ok"))
}

// conclude returns the worst of many outcomes, said once.
func (a *app) conclude(all signedArtifacts, errs []error) error {
	if len(errs) == 0 {
		if a.flags.json {
			return a.printJSON(all)
		}
		return nil
	}
	worstOf := a.worstError(errs)
	p := a.problem(nil, worstOf)
	f := &fault{code: codeOf(worstOf), sentence: p.Message, hint: p.Hint}
	if len(all.Items) > 1 {
		f.sentence = fmt.Sprintf("%d of %d artifacts are not signed. The worst: %s", all.Failed, len(all.Items), p.Message)
	}
	all.Code, all.Message, all.Hint = p.Code, f.sentence, p.Hint
	return a.concluded(all, f)
}

// worstError returns the error whose code needs a person most.
func (a *app) worstError(errs []error) error {
	codes := make([]capsign.Code, len(errs))
	for i, err := range errs {
		codes[i] = codeOf(err)
	}
	return errs[slices.Index(codes, worst(codes))]
}

// concluded returns err, having printed as JSON all that there is to say of it:
// the one object that stdout gets.
func (a *app) concluded(all any, err error) error {
	if !a.flags.json {
		return err
	}
	if failure := a.printJSON(all); failure != nil {
		return failure
	}
	a.stdout = io.Discard
	return err
}

// lines yields what stands on stdin, line by line, until it or ctx ends. What is
// being read then is left behind until the process ends.
func (a *app) lines(ctx context.Context) iter.Seq[string] {
	return func(yield func(string) bool) {
		scanner := bufio.NewScanner(a.stdin)
		for {
			more, err := await(ctx, func() (bool, error) { return scanner.Scan(), nil })
			if err != nil || !more {
				return
			}
			if line := strings.TrimSpace(scanner.Text()); line != "" && !yield(line) {
				return
			}
		}
	}
}
