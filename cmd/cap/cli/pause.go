package cli

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
)

// pauseCommand returns "cap pool pause".
func (a *app) pauseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pause POOL",
		Short: "Stop a pool until it is resumed",
		Long: "pause has a pool's workers take no further requests, over restarts too, until\n" +
			"'cap pool resume'. Those in hand are finished, those in the queue stay there\n" +
			"until they expire, and new ones are refused with pool_paused.",
		Example:           "  cap pool pause default",
		Args:              poolArg,
		ValidArgsFunction: a.completePoolArg,
		RunE:              a.onPool(true, a.pause),
	}
}

// resumeCommand returns "cap pool resume".
func (a *app) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume POOL",
		Short: "Start a pool again that waits for an operator",
		Long: "resume lets a pool's workers take requests again, whatever stopped it. After\n" +
			"pin_incorrect and token_locked it also lets them log in once more, so correct\n" +
			"the PIN or unlock the token before: a wrong PIN counts towards the token's lock.\n" +
			"Workers that have ended must be started.",
		Example:           "  cap pool resume default",
		Args:              poolArg,
		ValidArgsFunction: a.completePoolArg,
		RunE:              a.onPool(true, a.resume),
	}
}

// switched is what "cap pool pause" and "cap pool resume" print with --json.
type switched struct {
	poolSummary
	// Hint says what else there is to do.
	Hint string `json:"hint,omitzero"`
}

// pause stops a pool.
func (a *app) pause(ctx context.Context) error {
	return a.turn(ctx, capsign.PausePool, func(_ *nats.Conn, _, after capsign.Pool) string {
		if after.Code == capsign.PausedByOperator {
			return ""
		}
		return "nothing was changed: the pool waits for an operator already, for another reason."
	})
}

// resume starts a pool again.
func (a *app) resume(ctx context.Context) error {
	return a.turn(ctx, capsign.ResumePool, func(nc *nats.Conn, before, _ capsign.Pool) string {
		hint := resumeHints[before.Code]
		if resumerOf(before.Code) == byItself {
			hint = "a worker that still cannot sign pauses it again; 'cap keys check' says why."
		}
		workers, err := summarizeWorkers(ctx, nc, before.Name)
		if err == nil && len(workers) == 0 && !a.deny.any.Load() {
			hint += " " + noneRunning
		}
		return strings.TrimSpace(hint)
	})
}

// resumeHints say what an operator must have done before a pool's workers start
// again.
var resumeHints = map[capsign.Code]string{
	capsign.PINIncorrect: "correct the PIN before you start the workers again, which have ended: " +
		"a wrong one counts towards the token's lock.",
	capsign.TokenLocked: "unlock the token and correct the PIN before you start the workers again, which have ended.",
	capsign.Integrity:   "the key gave a wrong signature; find out why before you trust it.",
}

// turn has a pool's state changed by change and prints the new one. hint says
// what else there is to do, and may be empty.
func (a *app) turn(
	ctx context.Context,
	change func(ctx context.Context, nc *nats.Conn, name string) (capsign.Pool, error),
	hint func(nc *nats.Conn, before, after capsign.Pool) string,
) error {
	a.flags.key = "" // the whole pool is meant
	return a.atPool(ctx, func(nc *nats.Conn, before capsign.Pool) error {
		heeding, cancel := a.deny.heed(ctx)
		defer cancel()
		after, err := change(heeding, nc, before.Name)
		if err != nil {
			return err
		}
		ring, err := capsign.FetchKeySet(ctx, nc)
		if err != nil {
			return err
		}
		result := switched{a.flags.summarizePool(after, ring.Keys()), hint(nc, before, after)}
		if a.flags.json {
			return a.printJSON(result)
		}
		if err := a.print([]byte(result.text(time.Now()))); err != nil {
			return err
		}
		a.advise(result.Hint)
		return nil
	})
}

// text lays the pool out for a terminal.
func (s switched) text(now time.Time) string {
	var page strings.Builder
	s.writeState(&page)
	line(&page, "since", s.Since.Format(time.RFC3339)+" ("+ago(now.Sub(s.Since))+")")
	return page.String()
}
