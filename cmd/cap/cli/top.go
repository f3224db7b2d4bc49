package cli

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/capsign/cap/cmd/cap/top"
	"github.com/capsign/cap/internal/fleet"
)

const (
	// minInterval is the shortest time between two looks: workers have a third of
	// a second to answer each.
	minInterval = 500 * time.Millisecond
	// lookTime bounds one look.
	lookTime = 5 * time.Second
	// plainColumns is how wide a frame for a script is.
	plainColumns = 80
)

// topCommand returns "cap top".
func (a *app) topCommand() *cobra.Command {
	var once bool
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch pools, lanes and workers",
		Long: "top shows every pool, or the one of --pool, and goes on until q: whether it\n" +
			"signs, what waits in its lanes and for how long, how many requests are handled\n" +
			"a second, how long that takes and how much of it is the key provider's time, why\n" +
			"requests were refused, and the workers. Times are of the last 30 seconds and of\n" +
			"all workers together. An exclamation mark says that they are over the budget of\n" +
			"the provider's class. --once prints one frame, and --json one object a line.",
		Example: "  cap top\n  cap top --once --pool release\n  cap top --json --interval 10s",
		Args:    noArgs,
		RunE: a.steps(func(ctx context.Context) error {
			if interval < minInterval {
				return misuse("--interval must be at least %s.", minInterval)
			}
			return a.top(ctx, once, interval)
		}),
	}
	cmd.Flags().BoolVar(&once, "once", false, "print one frame and end")
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "look once in so much `TIME`")
	return cmd
}

// top shows the fleet once or goes on.
func (a *app) top(ctx context.Context, once bool, interval time.Duration) error {
	if !once && !a.flags.json && !(isTerminal(a.stdout) && isTerminal(a.stdin)) {
		return misuse("top draws on a terminal; --once or --json print.")
	}
	a.patient = true
	nc, err := a.connectWithin(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	looker, err := fleet.NewLooker(nc)
	if err != nil {
		return err
	}
	look := func(ctx context.Context) (fleet.Sight, error) {
		ctx, cancel := context.WithTimeout(ctx, min(lookTime, a.flags.timeout))
		defer cancel()
		sight, err := looker.Look(ctx, a.flags.pool)
		return a.presentable(sight), a.deny.explain(coded(err))
	}
	if once || a.flags.json {
		return a.printSights(ctx, look, once, interval)
	}
	if _, err := look(ctx); err != nil {
		return err // a person gets a reason rather than a screen
	}
	return top.Live{
		In: a.stdin, Out: a.stdout, Look: look, Interval: interval, Broker: a.tried, Resume: resumeText,
	}.Run(ctx)
}

// printSights prints what is seen, once or until ctx ends. Where nothing is to be
// seen for a while, that is printed.
func (a *app) printSights(ctx context.Context, look func(context.Context) (fleet.Sight, error), once bool, interval time.Duration) error {
	beat := time.NewTicker(interval)
	defer beat.Stop()
	for n := 0; ; n++ {
		sight, err := look(ctx)
		switch {
		case ctx.Err() != nil && n > 0:
			return nil // the end of a stream, and no failure
		case err != nil && n == 0:
			return err
		case err != nil:
			sight = fleet.Sight{At: time.Now().UTC(), Code: codeOf(err)}
		}
		if err := a.printSight(sight); err != nil || once {
			return err
		}
		select {
		case <-beat.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// printSight prints one sight.
func (a *app) printSight(sight fleet.Sight) error {
	if a.flags.json {
		return a.printJSON(sight)
	}
	frame := top.Frame{Broker: a.tried, Sight: sight, Now: sight.At, Resume: resumeText}
	return a.print([]byte(frame.Text(a.columns())))
}

// columns returns how wide stdout is.
func (a *app) columns() int {
	if file, ok := a.stdout.(*os.File); ok {
		if columns, _, err := term.GetSize(int(file.Fd())); err == nil && columns > 0 {
			return columns
		}
	}
	return plainColumns
}

// presentable returns a sight without what would move a terminal's cursor, and
// without the workers that the broker does not let be asked.
func (a *app) presentable(sight fleet.Sight) fleet.Sight {
	for i := range sight.Pools {
		p := &sight.Pools[i]
		p.Provider = cut(printable(p.Provider), maxWorkerID)
		for j := range p.Workers {
			w := &p.Workers[j]
			w.ID, w.Version = cut(printable(w.ID), maxWorkerID), cut(printable(w.Version), maxWorkerID)
		}
		if len(p.Workers) == 0 && a.deny.any.Load() {
			p.Workers = nil
		}
	}
	return sight
}

// resumeText says who may start a paused pool again.
func resumeText(p fleet.Pool) string {
	by := resumerOf(p.Code)
	if by == byItself && p.Workers != nil && len(p.Workers) == 0 {
		by = byWorker
	}
	switch by {
	case byOperator:
		return "an operator starts it again: cap pool resume " + p.Name
	case byItself:
		return "comes back by itself: " + p.Code.Sentence()
	}
	return "comes back when a worker starts: " + p.Code.Sentence()
}
