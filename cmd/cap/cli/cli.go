// Package cli is the cap command without its process: what it reads, does and
// prints, and the status it ends with.
//
// Results go to stdout, everything else to stderr. Every failure is one
// capsign.Code with its sentence and exit status; errors.go prints it.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/capsign/cap/capsign"
)

// Version is cap's version; a release's build sets it.
var Version = "0.1.0-dev"

// Run obeys one command line and returns the exit status. When ctx ends, as by
// an interrupt, it stops what it is doing and says so.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, deny: denials{first: make(chan struct{})}}
	return a.run(ctx, args)
}

// app is one run of the command.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	flags          flags

	trust trustFlags
	tried string // the broker that was asked, for people to read
	// patient has a connection that is lost come back, however long it takes.
	patient bool
	deny    denials
}

// isTerminal reports whether a person sits at the stream.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// run is Run. A panic is a bug like any other: one line, and then its stack.
func (a *app) run(ctx context.Context, args []string) (status int) {
	defer func() {
		if p := recover(); p != nil {
			status = a.fail(ctx, nil, args, capsign.Internal)
			fmt.Fprintf(a.stderr, "\npanic: %v\n%s", p, debug.Stack())
		}
	}()
	root := a.root()                          //nolint:contextcheck // cobra hands ctx to the commands
	root.SetArgs(append([]string{}, args...)) // nil would mean the process's own
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil {
		return a.fail(ctx, cmd, args, err)
	}
	return 0
}

// root returns the whole tree of commands.
func (a *app) root() *cobra.Command {
	root := a.group("cap", "Sign through a cap pool's queue, and verify")
	root.Long = "cap sends messages to the queue of a cap pool, whose workers sign them in a key\n" +
		"provider, and verifies the signatures. It finds a worker on the same machine by\n" +
		"itself, through ./data/client.json; any other broker is named with --nats."
	root.Example = "  cap keys sign --in msg.bin --out msg.sig\n" +
		"  cap verify-signature --in msg.bin --sig msg.sig --kid KID"
	root.Version = Version
	root.SetVersionTemplate("cap {{.Version}}\n")
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetUsageTemplate(usageTemplate)
	root.PersistentPreRunE = checkFlags
	root.SetFlagErrorFunc(flagFault)
	a.flags.register(root)

	keys := a.group("keys", "Sign; show, export, make and check keys")
	keys.AddCommand(a.signCommand(), a.infoCommand(), a.exportCommand(), a.generateCommand(), a.checkCommand())
	pool := a.group("pool", "Show, stop and start pools")
	pool.AddCommand(a.statusCommand(), a.pauseCommand(), a.resumeCommand())
	root.AddCommand(keys, pool, a.keyringCommand(), a.rotateCommand(), a.verifyCommand(), a.versionCommand(), exitStatusTopic())
	root.AddCommand(a.registryCommand(), a.signFileCommand(), a.signBatchCommand(), a.jobsCommand(), a.verifyBundleCommand())
	root.AddCommand(a.deadCommand(), a.topCommand(), a.benchCommand(), a.traceCommand())
	root.SetHelpCommand(helpCommand(root))
	a.refuseUnknownShells(root)
	a.completeFlags(root)
	return root
}

// group returns a command that only holds others.
func (a *app) group(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: a.needCommand,
	}
}

// needCommand runs where a group's command is missing or unknown.
func (a *app) needCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	if a.flags.json {
		return misuse("A command is missing.")
	}
	cmd.SetOut(a.stderr)
	if err := cmd.Help(); err != nil {
		return capsign.Internal
	}
	return &fault{code: capsign.BadRequest, sentence: "A command is missing.", silent: true}
}

// bounded returns a RunE that gives run a context which ends with --timeout,
// and makes sure that whatever run returns has a code.
func (a *app) bounded(run func(ctx context.Context) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		if a.flags.timeout <= 0 {
			return misuse("--timeout must be positive, as in --timeout %s.", defaultTimeout)
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), a.flags.timeout)
		defer cancel()
		stop, err := startTelemetry(ctx)
		if err != nil {
			return err
		}
		defer stop()
		return a.deny.explain(coded(run(ctx)))
	}
}

// await returns what do returns, or ctx's error if that ends first; do is then
// left behind until the process ends. It is for calls that take no context.
func await[T any](ctx context.Context, do func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
		panic any
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		defer func() {
			if p := recover(); p != nil {
				o.panic = fmt.Sprintf("%v\n%s", p, debug.Stack())
			}
			done <- o
		}()
		o.value, o.err = do()
	}()
	select {
	case o := <-done:
		if o.panic != nil {
			panic(o.panic) // where run recovers it
		}
		return o.value, o.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// defaultTimeout bounds a command that is not told otherwise.
const defaultTimeout = 30 * time.Second
