package cli

import (
	"context"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/deadletter"
)

// deadDropCommand returns "cap dead drop".
func (a *app) deadDropCommand() *cobra.Command {
	var p pick
	cmd := &cobra.Command{
		Use:   "drop SEQ… | --all --code CODE",
		Short: "Take dead letters out for good",
		Long: "drop takes letters out and says which. What they asked for is then nowhere any\n" +
			"more; nothing brings them back.",
		Example: "  cap dead drop 17 18\n  cap dead drop --all --code bad_request --dry-run",
		RunE:    p.command(a, func(ctx context.Context) error { return a.deadDrop(ctx, &p) }),
	}
	p.register(cmd)
	return cmd
}

// droppings is what "cap dead drop --json" says at the end.
type droppings struct {
	Dropped int  `json:"dropped"`
	DryRun  bool `json:"dry_run,omitzero"`
	// Code, Message and Hint say why the rest was left.
	Code    string `json:"code,omitzero"`
	Message string `json:"message,omitzero"`
	Hint    string `json:"hint,omitzero"`
}

// deadDrop takes letters out, and ends with the first that it cannot.
func (a *app) deadDrop(ctx context.Context, p *pick) error {
	return a.withBox(ctx, func(_ *nats.Conn, box *deadletter.Box) error {
		seqs, err := p.numbers(ctx, a, box)
		if err != nil {
			return err
		}
		out, done := a.newListing("letters"), droppings{DryRun: p.dryRun}
		for _, seq := range seqs {
			if err := a.dropOne(ctx, box, p, seq, out); err != nil {
				problem := a.problem(nil, a.deny.explain(coded(err)))
				done.Code, done.Message, done.Hint = problem.Code, problem.Message, problem.Hint
				return out.failWith(err, done)
			}
			if !p.dryRun {
				done.Dropped++
			}
		}
		return out.close(done)
	})
}

// dropOne takes a letter out and says so.
func (a *app) dropOne(ctx context.Context, box *deadletter.Box, p *pick, seq uint64, out *listing) error {
	if ctx.Err() != nil {
		return capsign.Internal // interrupted, which is what is said
	}
	entry, _, err := p.get(ctx, a, box, seq)
	if err != nil {
		return err
	}
	done := "dropped"
	if p.dryRun {
		done = "would be dropped"
	} else if err := a.takeOut(ctx, box, seq); err != nil {
		return err
	}
	var page strings.Builder
	s := summarizeLetter(entry)
	s.write(&page)
	page.WriteString("         " + done + "\n")
	return out.item(s, page.String())
}

// takeOut takes a letter out. An interrupt does not come in between.
func (a *app) takeOut(ctx context.Context, box *deadletter.Box, seq uint64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.flags.timeout)
	defer cancel()
	return box.Drop(ctx, seq)
}
