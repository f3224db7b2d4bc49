package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/loadtest"
	"github.com/capsign/cap/internal/loadtest/loadpage"
)

// benchCommand returns "cap bench".
func (a *app) benchCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Put a pool under load and measure it",
		Long: "bench asks a pool for signatures at the rates that it is told, whether or not\n" +
			"earlier ones have come, and times each request from the instant it was due, so\n" +
			"that a pool that stands still is seen to. A rate is a number of signatures a\n" +
			"second. Several, with commas between, follow each other; 10..500 is a ramp. On\n" +
			"the bulk lane a request asks for --pack signatures. A request that is refused or\n" +
			"never answered counts as slower than any other.\n\n" +
			"Ctrl-C ends it early, with a report on what there is. --timeout bounds each\n" +
			"request. The signatures are real ones: a cloud's cost money.",
		Example: "  cap bench --express 100,200,400 --budget p95=50ms,p99=200ms --html bench.html",
		Args:    noArgs,
		RunE:    a.unbounded(func(ctx context.Context, _ []string) error { return a.bench(ctx, f) }),
	}
	f.register(cmd)
	return cmd
}

// bench measures a pool, prints and writes the report, and fails where the pool
// is not within its budget.
func (a *app) bench(ctx context.Context, f benchFlags) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	if err := f.checkFiles(a); err != nil {
		return err
	}
	nc, client, err := a.openBench(ctx, f)
	if err != nil {
		return err
	}
	defer nc.Close()
	defer client.Close()
	setup, err := a.benchSetup(ctx, nc, client)
	if err != nil {
		return err
	}
	setup.Verified = !f.skipVerify

	bar := a.newBenchBar()
	cfg.Signer, cfg.Wait, cfg.Progress = client, loadtest.KernelWait, bar.show
	report, err := loadtest.Run(ctx, cfg)
	bar.finish()
	if err != nil {
		return err
	}
	report.Setup = setup
	// An interrupt ended the load; the report is what it was for.
	return a.deliver(context.WithoutCancel(ctx), f, report)
}

// openBench connects to the broker, and has one signature made: a pool that does
// not sign at all says why before it is put under load.
func (a *app) openBench(ctx context.Context, f benchFlags) (*nats.Conn, *capsign.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	nc, err := a.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	client, err := await(ctx, func() (*capsign.Client, error) {
		return capsign.NewClient(ctx, nc, capsign.ClientConfig{
			Pool: a.flags.pool, Key: a.flags.key, Timeout: a.flags.timeout, Pack: f.pack, SkipVerify: f.skipVerify,
		})
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = capsign.BrokerUnreachable
	}
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	if _, err := client.Sign(ctx, []byte("cap bench")); err != nil {
		client.Close()
		nc.Close()
		return nil, nil, err
	}
	return nc, client, nil
}

// deliver writes the report to where it is wanted, and returns what it says of
// the budget.
func (a *app) deliver(ctx context.Context, f benchFlags, report loadtest.Report) error {
	if f.html != "" {
		page, err := loadpage.Render(report)
		if err != nil {
			return err
		}
		if err := a.writeTo(ctx, "--html", f.html, page); err != nil {
			return err
		}
	}
	if f.out != "" {
		data, err := json.Marshal(report, json.Deterministic(true), jsontext.WithIndent("  "))
		if err != nil {
			return capsign.Internal
		}
		if err := a.writeTo(ctx, "--out", f.out, append(data, '\n')); err != nil {
			return err
		}
	}
	verdict := judged(report)
	if !a.flags.json {
		if err := a.print([]byte(benchText(report))); err != nil {
			return err
		}
		return verdict
	}
	if verdict != nil {
		return verdict // which is printed with the report
	}
	return a.printJSON(report)
}

// measured is what is wrong with what was measured.
type measured struct {
	report loadtest.Report
	fault  error
}

// Error returns what is wrong.
func (m *measured) Error() string { return m.fault.Error() }

// Unwrap returns what is wrong.
func (m *measured) Unwrap() error { return m.fault }

// judged returns nil where the run came to its end and was within its budget.
func judged(report loadtest.Report) error {
	err := report.Judge()
	switch {
	case report.Interrupted:
		err = &fault{code: capsign.BudgetInconclusive, sentence: "Interrupted."}
	case report.Refusal() != nil:
		err = &fault{code: codeOf(report.Refusal()), sentence: fmt.Sprintf("Nothing was signed: %s.", codeOf(report.Refusal()))}
	case errors.Is(err, capsign.BudgetInconclusive):
		err = &fault{
			code: capsign.BudgetInconclusive, sentence: capsign.BudgetInconclusive.Sentence(),
			hint: fmt.Sprintf("it takes %d requests a step: give --step longer, or a higher rate.", neededRequests(report)),
		}
	}
	if err == nil {
		return nil
	}
	return &measured{report, err}
}

// neededRequests returns how many requests it takes to say of each limit whether
// it holds.
func neededRequests(report loadtest.Report) int64 {
	var needed int64
	for _, finding := range report.Budget {
		needed = max(needed, finding.Needed)
	}
	return needed
}

// benchWarmup is how long a pool is put under load before it counts.
const benchWarmup = 2 * time.Second
