package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/deadletter"
)

// deadReplayCommand returns "cap dead replay".
func (a *app) deadReplayCommand() *cobra.Command {
	var p pick
	cmd := &cobra.Command{
		Use:   "replay SEQ… | --all --code CODE",
		Short: "Ask anew for what was given up",
		Long: "replay has the items of dead letters signed after all: it asks for them under a\n" +
			"new id, with --timeout for each letter, waits for the result, prints it, and\n" +
			"drops the letter once every item is signed. Interrupted in between, it finds the\n" +
			"result when it is run again, as long as results are kept, and signs no second\n" +
			"time. It ends with the first letter whose pool does not sign now.\n\n" +
			"Whoever had asked has been told retries_exhausted and has gone: the signatures\n" +
			"are here, and with --json all of them.",
		Example: "  cap dead replay 17 --json\n  cap dead replay --all --code retries_exhausted --pool release",
		RunE:    p.command(a, func(ctx context.Context) error { return a.deadReplay(ctx, &p) }),
	}
	p.register(cmd)
	return cmd
}

// replayed is what became of one letter.
type replayed struct {
	Seq uint64 `json:"seq"`
	// RequestID, KID and Alg are the result's, and Outcomes holds one outcome for
	// each item; all are missing where there is no result.
	RequestID string            `json:"request_id,omitzero"`
	KID       string            `json:"kid,omitzero"`
	Alg       capsign.Alg       `json:"alg,omitzero"`
	Outcomes  []capsign.Outcome `json:"outcomes,omitzero"`
	// Earlier says that the result was there already, and nothing was signed now.
	Earlier bool `json:"earlier,omitzero"`
	// Dropped says that the letter is gone.
	Dropped bool `json:"dropped"`
	// Code and Message say why not every item is signed.
	Code    string `json:"code,omitzero"`
	Message string `json:"message,omitzero"`
}

// text is a letter's line.
func (r replayed) text() string {
	switch {
	case r.Code != "":
		return fmt.Sprintf("%d %s\n", r.Seq, r.Code)
	case r.RequestID == "":
		return fmt.Sprintf("%d would be asked for\n", r.Seq)
	case r.Earlier:
		return fmt.Sprintf("%d %s %s signed before\n", r.Seq, r.RequestID, r.KID)
	}
	return fmt.Sprintf("%d %s %s ok\n", r.Seq, r.RequestID, r.KID)
}

// replays is what "cap dead replay --json" says at the end.
type replays struct {
	Replayed int  `json:"replayed"`
	Failed   int  `json:"failed"`
	Left     int  `json:"left"` // not tried
	DryRun   bool `json:"dry_run,omitzero"`
	// Code, Message and Hint say the worst of what failed.
	Code    string `json:"code,omitzero"`
	Message string `json:"message,omitzero"`
	Hint    string `json:"hint,omitzero"`
}

// deadReplay asks for letters one after the other.
func (a *app) deadReplay(ctx context.Context, p *pick) error {
	return a.withBox(ctx, func(nc *nats.Conn, box *deadletter.Box) error {
		seqs, err := p.numbers(ctx, a, box)
		if err != nil {
			return err
		}
		out, all := a.newListing("letters"), replays{DryRun: p.dryRun, Left: len(seqs)}
		var errs []error // one of each code
		for _, seq := range seqs {
			letter, err := a.replayOne(ctx, nc, box, p, seq)
			err = a.deny.explain(coded(err))
			if err != nil && ctx.Err() != nil {
				errs = append(errs, err)
				break
			}
			all.Left--
			if all.count(err) {
				errs = addCode(errs, err)
				problem := a.problem(nil, err)
				letter.Code, letter.Message = problem.Code, problem.Message
			}
			if err := out.item(letter, letter.text()); err != nil {
				return err
			}
			if err != nil && concernsAll(codeOf(err)) {
				break
			}
		}
		return a.concludeReplays(out, all, errs)
	})
}

// count counts an outcome and reports whether it is a failure.
func (r *replays) count(err error) bool {
	if err != nil {
		r.Failed++
		return true
	}
	if !r.DryRun {
		r.Replayed++
	}
	return false
}

// addCode adds an error whose code is not there yet.
func addCode(errs []error, err error) []error {
	if slices.ContainsFunc(errs, func(other error) bool { return codeOf(other) == codeOf(err) }) {
		return errs
	}
	return append(errs, err)
}

// concernsAll reports whether what a letter met is what the next would meet too.
func concernsAll(code capsign.Code) bool {
	fate := code.Fate()
	return code.Retryable() || fate == capsign.FateHeld || fate == capsign.FateLatched
}

// replayOne asks for one letter and drops it once all of it is signed.
func (a *app) replayOne(ctx context.Context, nc *nats.Conn, box *deadletter.Box, p *pick, seq uint64) (replayed, error) {
	done := replayed{Seq: seq}
	entry, body, err := p.get(ctx, a, box, seq)
	if err != nil {
		return done, err
	}
	if entry.Fault != nil {
		return done, unreplayable(entry.Fault)
	}
	if _, err := entry.Letter.Request(body); err != nil {
		return done, unreplayable(err)
	}
	if p.dryRun {
		return done, nil
	}
	res, err := await(ctx, func() (capsign.Replayed, error) {
		return capsign.Replay(ctx, nc, entry.Letter.Lane(), body, a.flags.timeout)
	})
	if err != nil {
		return done, err
	}
	done.RequestID, done.KID, done.Alg, done.Outcomes = res.Result.ID, res.Result.KID, res.Result.Alg, res.Result.Outcomes
	done.Earlier = res.Earlier
	for _, outcome := range res.Result.Outcomes {
		if outcome.Code != "" {
			return done, outcome.Code
		}
	}
	if err := a.takeOut(ctx, box, seq); err != nil {
		return done, err
	}
	done.Dropped = true
	return done, nil
}

// unreplayable explains a letter that nothing can be asked for with.
func unreplayable(err error) error {
	return &fault{
		code: capsign.CodeOf(err), sentence: "The letter holds no request that can be asked for again.",
		hint: "'cap dead show SEQ --out FILE' writes what it holds; 'cap dead drop SEQ' takes it out.",
	}
}

// concludeReplays prints the end and returns the worst of what failed.
func (a *app) concludeReplays(out *listing, all replays, errs []error) error {
	if len(errs) == 0 {
		return out.close(all)
	}
	worstOf := a.worstError(errs)
	problem := a.problem(nil, worstOf)
	f := &fault{code: codeOf(worstOf), sentence: problem.Message, hint: problem.Hint}
	if total := all.Replayed + all.Failed + all.Left; total > 1 {
		f.sentence = strings.TrimSpace(fmt.Sprintf("%d of %d letters failed, %d were not tried. The worst: %s",
			all.Failed, total, all.Left, problem.Message))
	}
	all.Code, all.Message, all.Hint = problem.Code, f.sentence, f.hint
	return out.failWith(f, all)
}
