package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/batch"
)

const (
	// batchTimeout bounds each request of a batch where --timeout does not.
	batchTimeout = 15 * time.Minute
	// leftTimeout does for a job, which nobody waits for.
	leftTimeout = 12 * time.Hour
)

// batchFlags is what the flags of "cap sign-batch" ask for.
type batchFlags struct {
	kid, out, what, manifest         string
	fromStdin, null, restart, detach bool
	timeout                          time.Duration // of each request
}

// signBatchCommand returns "cap sign-batch".
func (a *app) signBatchCommand() *cobra.Command {
	var b batchFlags
	cmd := &cobra.Command{
		Use:   "sign-batch PATH… | --manifest FILE | --from-stdin",
		Short: "Sign many files",
		Long: "sign-batch has workers sign many files, those below a directory included, and\n" +
			"writes a line of JSON for each to --out: path, sha256, kid, alg, signature and\n" +
			"request_id, or the code that says why it is not signed. It signs the contents\n" +
			"of files up to 760 KiB or, with --what checksum, the line that 'sha256sum FILE'\n" +
			"prints, of a file of any size.\n\n" +
			"However it ends, the same command goes on where it stopped, and nothing is\n" +
			"signed twice; what that takes is kept beside --out until it is done. With\n" +
			"--detach it leaves the files to the workers and prints the ID for 'cap jobs'.\n\n" +
			"Exit status 0 means that all are signed, 11 that some are and some were\n" +
			"refused, and that of the worst code that none is. Any other failure ends the\n" +
			"run with its own status, to be taken up again; with --json, complete is false\n" +
			"then. --timeout is for each request: 15m unless given, 12h with --detach.",
		Example: "  cap sign-batch --out results.jsonl dist/\n" +
			"  cap sign-batch --out results.jsonl --manifest SHA256SUMS --what checksum",
		Args: cobra.ArbitraryArgs,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		b.timeout = batchTimeout
		if b.detach {
			b.timeout = leftTimeout
		}
		if cmd.Flags().Changed("timeout") {
			b.timeout = a.flags.timeout
		}
		return a.unbounded(func(ctx context.Context, args []string) error { return a.signBatch(ctx, args, b) })(cmd, args)
	}
	set := cmd.Flags()
	set.StringVar(&b.out, "out", "", "write what became of each file to `FILE`")
	set.StringVar(&b.what, "what", batch.Contents, "sign each file's `WHAT`: contents or checksum")
	set.StringVar(&b.manifest, "manifest", "", "sign the files in `FILE`, written by sha256sum, if they are as it says")
	set.BoolVar(&b.fromStdin, "from-stdin", false, "read the PATHs from stdin, one in a line")
	set.BoolVarP(&b.null, "null", "0", false, "with --from-stdin: a NUL ends each PATH")
	set.StringVar(&b.kid, "kid", "", "sign with key version `KID`; finds its pool and key by itself")
	set.BoolVar(&b.restart, "restart", false, "forget an earlier run with this --out, and begin anew")
	set.BoolVar(&b.detach, "detach", false, "leave once all is queued; 'cap jobs' has the rest")
	return cmd
}

// check refuses flags that do not go together.
func (b *batchFlags) check(args []string) error {
	sources := 0
	for _, named := range []bool{len(args) > 0, b.manifest != "", b.fromStdin} {
		if named {
			sources++
		}
	}
	switch {
	case sources == 0:
		return misuse("Missing: PATH, --manifest or --from-stdin.")
	case sources > 1:
		return misuse("PATHs, --manifest and --from-stdin exclude each other.")
	case b.null && !b.fromStdin:
		return misuse("--null goes with --from-stdin.")
	case b.what != batch.Contents && b.what != batch.Checksum:
		return misuse("--what must be contents or checksum.")
	case b.detach && (b.out != "" || b.restart):
		return misuse("--detach goes without --out and --restart: 'cap jobs get' writes the outcomes.")
	case !b.detach && b.out == "":
		return misuse("Missing: --out, or --detach.")
	case b.out == "-":
		return misuse("--out must be a file: what is in it says where to go on.")
	}
	return nil
}

// source returns what names the files.
func (a *app) source(args []string, b batchFlags) batch.Source {
	switch {
	case b.fromStdin:
		return batch.Lines{From: a.stdin, Null: b.null, Typed: isTerminal(a.stdin)}
	case b.manifest != "":
		return batch.Manifest(b.manifest)
	}
	return batch.Tree{Paths: args, Except: b.out}
}

// signBatch signs every file that is named and notes what became of each.
func (a *app) signBatch(ctx context.Context, args []string, b batchFlags) error {
	if err := b.check(args); err != nil {
		return err
	}
	if b.detach {
		return a.leaveBatch(ctx, a.source(args, b), b)
	}
	run, err := a.openBatch(ctx, args, b)
	if err != nil {
		return err
	}
	if run.Resumed {
		fmt.Fprintf(a.stderr, "going on: %d of %d files are done\n", run.Tally.Done(), run.Items)
	}
	cause := a.workOff(ctx, run, b)
	if err := run.Close(); err != nil {
		return fileFault("--out", b.out, reason(err))
	}
	return a.concludeBatch(ctx, run, b, cause)
}

// openBatch begins the run on disk, or takes it up.
func (a *app) openBatch(ctx context.Context, args []string, b batchFlags) (*batch.Run, error) {
	if err := a.checkOutput(b.out); err != nil {
		return nil, err
	}
	if info, err := os.Stat(b.out); err == nil && !info.Mode().IsRegular() {
		return nil, fileFault("--out", b.out, "it is no file")
	}
	dir, err := os.Getwd()
	if err != nil {
		return nil, misuse("The current directory cannot be told: %s.", reason(err))
	}
	settings := batch.Settings{
		What: b.what, Pool: a.flags.pool, Key: a.flags.key, KID: b.kid,
		Paths: args, Manifest: b.manifest, Stdin: b.fromStdin, Null: b.null, Dir: dir,
	}
	if len(args) == 0 {
		settings.Paths = nil
	}
	run, err := await(ctx, func() (*batch.Run, error) { return batch.Open(b.out, settings, a.source(args, b), b.restart) })
	return run, batchFault(b, err)
}

// batchFault explains why a run cannot be begun or taken up.
func batchFault(b batchFlags, err error) error {
	other := "--restart begins anew and signs all of it again."
	switch failure, isSource := errors.AsType[*batch.SourceError](err); {
	case err == nil:
		return nil
	case isSource:
		return sourceFault(b, failure)
	case errors.Is(err, batch.ErrTaken):
		return &fault{code: capsign.BadRequest, sentence: fmt.Sprintf("--out %q exists already, and belongs to no run that could go on.", b.out),
			hint: "name another file; --restart replaces it and signs all of it again."}
	case errors.Is(err, batch.ErrBusy):
		return &fault{code: capsign.BadRequest, sentence: fmt.Sprintf("Another process is writing --out %q.", b.out)}
	case errors.Is(err, batch.ErrOther):
		return &fault{code: capsign.BadRequest, sentence: "This --out belongs to a run of other files, or with other flags.", hint: other}
	case errors.Is(err, batch.ErrBroken):
		return &fault{code: capsign.BadRequest, sentence: fmt.Sprintf("--out %q or the directory beside it is not as a run leaves it.", b.out), hint: other}
	case errors.Is(err, batch.ErrEmpty):
		return &fault{code: capsign.BadRequest, sentence: "There are no files to sign."}
	case errors.Is(err, context.Canceled):
		return err
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return fileFault("--out", b.out, reason(err))
	}
	return err
}

// sourceFault explains what names no files.
func sourceFault(b batchFlags, failure *batch.SourceError) error {
	name := "PATH"
	switch {
	case b.manifest != "":
		name = "--manifest"
	case b.fromStdin:
		name = "--from-stdin"
	}
	if failure.Path != "" {
		name += fmt.Sprintf(" %q", failure.Path)
	}
	f := &fault{code: capsign.BadRequest}
	switch {
	case failure.Line > 0 && failure.Err == nil:
		f.sentence = fmt.Sprintf("%s: line %d is none that sha256sum writes.", name, failure.Line)
	case failure.Line > 0:
		f.sentence = fmt.Sprintf("%s: line %d cannot be read.", name, failure.Line)
	default:
		f.sentence = fmt.Sprintf("%s cannot be read: %s.", name, reason(failure.Err))
	}
	return f
}

// workOff signs what has no outcome yet and returns why that ended early.
func (a *app) workOff(ctx context.Context, run *batch.Run, b batchFlags) error {
	if run.Tally.Done() == run.Items {
		return nil
	}
	client, closeClient, err := a.openClient(ctx, b.kid, b.timeout)
	if err != nil {
		return err
	}
	defer closeClient()
	journal := run.Journal()
	defer journal.Close() //nolint:errcheck // each entry is on disk already
	signing, err := client.NewRun(run.ID, journal)
	if err != nil {
		return err
	}
	defer signing.Close()
	bar := a.newBatchProgress("signing", run.Items, run.Tally.Done())
	defer bar.finish()
	for signed, err := range signing.Sign(ctx, run.Tally.Done(), run.Load(ctx, b.what)) {
		outcome := batch.NewOutcome(signed, err)
		if err := run.Note(outcome); err != nil {
			return fileFault("--out", b.out, reason(err))
		}
		bar.add(outcome.Code != "")
	}
	return a.deny.explain(coded(signing.Err()))
}

// openClient connects to the broker and returns a client of the key that the
// flags name, whose requests may take so long. Opening takes no longer than
// --timeout.
func (a *app) openClient(ctx context.Context, kid string, timeout time.Duration) (*capsign.Client, func(), error) {
	soon, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	nc, err := a.connect(soon)
	if err != nil {
		return nil, nil, err
	}
	client, err := await(soon, func() (*capsign.Client, error) {
		return capsign.NewClient(ctx, nc, capsign.ClientConfig{Pool: a.flags.pool, Key: a.flags.key, KID: kid, Timeout: timeout})
	})
	if err != nil {
		nc.Close()
		if errors.Is(err, context.DeadlineExceeded) {
			err = capsign.BrokerUnreachable
		}
		return nil, nil, err
	}
	return client, func() { client.Close(); nc.Close() }, nil
}

// connectSoon connects to the broker within --timeout.
func (a *app) connectSoon(ctx context.Context) (*nats.Conn, error) {
	soon, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	return a.connect(soon)
}

// codesOf puts a tally's codes into words.
func codesOf(tally batch.Tally) string {
	var parts []string
	for _, code := range tally.Sorted() {
		parts = append(parts, fmt.Sprintf("%d %s", tally.Codes[code], code))
	}
	return strings.Join(parts, ", ")
}
