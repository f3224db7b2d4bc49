package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/config"
	"github.com/capsign/cap/internal/latency"
)

// tracing is what the flags of "cap trace check" ask for.
type tracing struct {
	files                []string
	budget               string
	grpc, http           string
	lasts, idle          time.Duration
	signatures           uint64
	slowest              int
	jsonFile, junit, web string
}

// The addresses that OTLP exporters send to unless they are told otherwise.
const (
	defaultGRPC = "127.0.0.1:4317"
	defaultHTTP = "127.0.0.1:4318"
)

// traceCommand returns "cap trace".
func (a *app) traceCommand() *cobra.Command {
	trace := a.group("trace", "Judge latency by the traces of requests")
	trace.AddCommand(a.traceCheckCommand())
	return trace
}

// traceCheckCommand returns "cap trace check".
func (a *app) traceCheckCommand() *cobra.Command {
	var t tracing
	cmd := &cobra.Command{
		Use:   "check [FILE...]",
		Short: "Say whether the latency budgets held",
		Long: "check decides from spans alone whether p95 and p99 held for each class of key\n" +
			"provider, and shows where the time went. It reads files of OTLP in JSON, a line\n" +
			"for each export, as the OpenTelemetry Collector writes them; - is stdin. Without\n" +
			"files it listens for OTLP itself, until --for or --until-idle is over or it is\n" +
			"interrupted, and then judges. Exit status 0 means that all budgets held, 1 that\n" +
			"one did not, 6 that too little was measured to tell.",
		Example: "  cap trace check --budget budgets.yaml --until-idle 10s\n" +
			"  cap trace check spans.jsonl --junit latency.xml --html latency.html",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, files []string) error {
			t.files = files
			return coded(a.checkTraces(cmd.Context(), t))
		},
	}
	set := cmd.Flags()
	set.StringVar(&t.budget, "budget", "", "the budgets are in `FILE`; without it they are cap's own")
	set.StringVar(&t.grpc, "listen-grpc", "", "listen for OTLP over gRPC at `ADDRESS` (default "+defaultGRPC+")")
	set.StringVar(&t.http, "listen-http", "", "listen for OTLP over HTTP at `ADDRESS` (default "+defaultHTTP+")")
	set.DurationVar(&t.lasts, "for", 0, "listen for `TIME`")
	set.DurationVar(&t.idle, "until-idle", 0, "listen until no span came for `TIME`")
	set.Uint64Var(&t.signatures, "signatures", 0, "`N` signatures were made; without it the workers' metrics say so")
	set.IntVar(&t.slowest, "slowest", 10, "name the slowest `N` requests")
	set.StringVar(&t.jsonFile, "json-file", "", "write the report to `FILE` as JSON")
	set.StringVar(&t.junit, "junit", "", "write the report to `FILE` as JUnit XML")
	set.StringVar(&t.web, "html", "", "write the report to `FILE` as a page for browsers")
	return cmd
}

// unmet is that budgets did not hold, or that nobody can tell.
type unmet struct {
	report latency.Report
	err    error
}

// Error returns the verdict.
func (u *unmet) Error() string { return u.err.Error() }

// Unwrap returns the verdict.
func (u *unmet) Unwrap() error { return u.err }

// checkTraces reads or receives spans and says whether the budgets held.
func (a *app) checkTraces(ctx context.Context, t tracing) error {
	if err := t.check(); err != nil {
		return err
	}
	budgets, err := t.budgets()
	if err != nil {
		return err
	}
	options := latency.Options{Signatures: t.signatures, Slowest: t.slowest}
	var check *latency.Check
	if len(t.files) > 0 {
		check = latency.NewCheck(budgets, options)
		err = a.readTraces(ctx, t.files, check)
	} else {
		options.Since = time.Now()
		check = latency.NewCheck(budgets, options)
		err = a.receiveTraces(ctx, t, check)
	}
	if err != nil {
		return err
	}
	report := check.Report()
	if err := t.write(report); err != nil {
		return err
	}
	return a.tell(report)
}

// check refuses flags that do not go together.
func (t tracing) check() error {
	listens := t.grpc != "" || t.http != "" || t.lasts != 0 || t.idle != 0
	switch {
	case len(t.files) > 0 && listens:
		return misuse("It either reads files or listens: --listen-grpc, --listen-http, --for and --until-idle are for listening.")
	case t.lasts < 0 || t.idle < 0:
		return misuse("--for and --until-idle must be positive.")
	case t.slowest < 1 || t.slowest > 1000:
		return misuse("--slowest must be from 1 to 1000.")
	}
	return nil
}

// budgets returns those of the file, or cap's own.
func (t tracing) budgets() (latency.Budgets, error) {
	if t.budget == "" {
		return latency.Default(), nil
	}
	budgets, err := latency.Load(t.budget)
	if faulty, ok := errors.AsType[*config.Error](err); ok {
		return budgets, &fault{
			code:     capsign.ConfigInvalid,
			sentence: fmt.Sprintf("--budget %q cannot be used: %s.", t.budget, faultList(faulty.Faults)),
			hint:     "docs/latency.md describes the file.",
		}
	}
	return budgets, err
}

// faultList lists the faults of a file in one sentence.
func faultList(faults []config.Fault) string {
	texts := make([]string, len(faults))
	for i, f := range faults {
		texts[i] = f.String()
	}
	return strings.Join(texts, "; ")
}

// tell prints the report and returns what is wrong, if anything is.
func (a *app) tell(report latency.Report) error {
	code := report.Code()
	switch {
	case !a.flags.json:
		if err := a.printf("%s", report.Text()); err != nil {
			return err
		}
	case code == "":
		return a.printJSON(report)
	}
	if code == "" {
		return nil
	}
	return &unmet{report: report, err: &fault{code: code, sentence: code.Sentence(), hint: budgetHints[code]}}
}

// budgetHints says what to do about a verdict.
var budgetHints = map[capsign.Code]string{
	capsign.BudgetExceeded:     "the report shows where the time goes, and names the slowest traces.",
	capsign.BudgetInconclusive: "the report says what is missing; docs/latency.md how to measure enough.",
}
