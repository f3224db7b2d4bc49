package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/latency"
	"github.com/capsign/cap/internal/loadtest"
)

// interrupted is the exit status after Ctrl-C, as shells expect it, unless a
// request was in flight.
const interrupted = 130

// problem is an error as --json prints it.
type problem struct {
	// Valid and KID are verify-signature's.
	Valid *bool  `json:"valid,omitzero"`
	KID   string `json:"kid,omitzero"`
	// Pool, Fallback and Checks are those of keys check.
	Pool     string    `json:"pool,omitzero"`
	Fallback bool      `json:"fallback,omitzero"`
	Checks   []finding `json:"checks,omitzero"`
	// Report is that of trace check, its members among these.
	Report *latency.Report `json:",embed"`
	// Bench is bench's report, the members of which go before Code.
	Bench *loadtest.Report `json:",embed"`
	// Code is a capsign.Code or "interrupted".
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Hint    string   `json:"hint,omitzero"`
	Choices []string `json:"choices,omitzero"`
}

// fail tells the person what went wrong, on stdout as well where JSON was asked
// for, and returns the exit status. cmd may be nil.
func (a *app) fail(ctx context.Context, cmd *cobra.Command, args []string, err error) int {
	p, status := a.problem(cmd, err), statusOf(err)
	f, explained := errors.AsType[*fault](err)
	_, judged := errors.AsType[*unmet](err) // an interrupt is how its listening ends
	switch {
	case explained && f.interrupted: // which says how to go on
		p.Code, status = "interrupted", interrupted
	case ctx.Err() != nil && status != capsign.OutcomeUnknown.ExitStatus() && !judged:
		p, status = problem{Bench: p.Bench, Code: "interrupted", Message: "Interrupted."}, interrupted
	}
	if !explained || !f.silent {
		fmt.Fprintf(a.stderr, "cap: %s%s (%s)\n", prefix(cmd), p.Message, p.Code)
		if p.Hint != "" {
			fmt.Fprintf(a.stderr, "hint: %s\n", p.Hint)
		}
	}
	if a.flags.json || asksForJSON(args) {
		_ = a.printJSON(p) // stdout may be what is broken; stderr has said so
	}
	return status
}

// statusOf returns the exit status of err.
func statusOf(err error) int {
	if f, ok := errors.AsType[*fault](err); ok && f.exit != 0 {
		return f.exit
	}
	return codeOf(err).ExitStatus()
}

// problem returns what there is to say about err.
func (a *app) problem(cmd *cobra.Command, err error) problem {
	p := problem{Code: string(codeOf(err)), Message: sentenceOf(err), Hint: printable(a.hint(cmd, err))}
	if which, ok := errors.AsType[*capsign.AmbiguousError](err); ok {
		p.Choices = which.Choices
	}
	if u, ok := errors.AsType[*unverified](err); ok {
		p.Valid, p.KID = new(bool), printable(u.kid)
	}
	if u, ok := errors.AsType[*unsound](err); ok {
		p.Pool, p.Fallback, p.Checks = u.Pool, u.Fallback, u.Checks
	}
	if u, ok := errors.AsType[*unmet](err); ok {
		p.Report = &u.report
	}
	if m, ok := errors.AsType[*measured](err); ok {
		p.Bench = &m.report
	}
	return p
}

// prefix names the command that failed.
func prefix(cmd *cobra.Command) string {
	if cmd == nil || !cmd.HasParent() {
		return ""
	}
	_, path, _ := strings.Cut(cmd.CommandPath(), " ")
	return path + ": "
}

// asksForJSON looks for --json in a command line that may not have been parsed.
func asksForJSON(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return slices.Contains(args, "--json") || slices.Contains(args, "--json=true")
}

// printJSON prints one object on stdout.
func (a *app) printJSON(v any) error {
	data, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return capsign.Internal
	}
	return a.print(append(data, '\n'))
}

// print writes to stdout.
func (a *app) print(data []byte) error {
	_, err := a.stdout.Write(data)
	return stdoutFault(err)
}

// printf prints text on stdout.
func (a *app) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(a.stdout, format, args...)
	return stdoutFault(err)
}

// stdoutFault explains why stdout does not take a result.
func stdoutFault(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.ErrClosedPipe):
		return &fault{code: capsign.BadRequest, sentence: "Standard output is closed."}
	}
	return &fault{code: capsign.BadRequest, sentence: "Standard output cannot be written: " + reason(err) + "."}
}
