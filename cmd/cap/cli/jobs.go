package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/batch"
)

// jobsCommand returns "cap jobs".
func (a *app) jobsCommand() *cobra.Command {
	group := a.group("jobs", "Wait for what was left to the workers, and get it")
	group.AddCommand(a.jobsWaitCommand(), a.jobsGetCommand(), a.jobsListCommand())
	return group
}

// jobsWaitCommand returns "cap jobs wait".
func (a *app) jobsWaitCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "wait ID",
		Short: "Wait until a job is done",
		Long: "wait waits until every file of a job has its outcome: for as long as that takes,\n" +
			"unless --timeout says otherwise. A job is what 'cap sign-batch --detach' has\n" +
			"left; it can be waited for from any machine, and more than once. The exit status\n" +
			"is that of 'cap sign-batch'.",
		Example: "  cap jobs wait ID",
		Args:    oneArg("ID"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.unbounded(func(ctx context.Context, args []string) error {
			if cmd.Flags().Changed("timeout") {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, a.flags.timeout)
				defer cancel()
			}
			return a.collectJob(ctx, args[0], "", func([]byte) error { return nil })
		})(cmd, args)
	}
	return cmd
}

// jobsGetCommand returns "cap jobs get".
func (a *app) jobsGetCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "get ID [--out FILE]",
		Short: "Get what became of the files of a job",
		Long: "get writes a line of JSON for each file of a job, as 'cap sign-batch' does, to\n" +
			"--out or stdout. It waits for what is not signed yet for up to --timeout. A\n" +
			"signature over a checksum is verified, and one over contents where the file is\n" +
			"at hand under the same path; else its line says unverified. Results are kept for\n" +
			"a day. The exit status is that of 'cap sign-batch'.",
		Example: "  cap jobs get ID --out results.jsonl",
		Args:    oneArg("ID"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.bounded(func(ctx context.Context) error { return a.getJob(ctx, args[0], out) })(cmd, args)
	}
	cmd.Flags().StringVar(&out, "out", "", "write to `FILE`; - is stdout")
	return cmd
}

// getJob writes a job's outcomes. A file appears whole or not at all.
func (a *app) getJob(ctx context.Context, id, out string) error {
	if a.flags.json && isStdout(out) {
		return misuse("--json needs --out FILE: both would write to stdout.")
	}
	if err := a.checkOutput(out); err != nil {
		return err
	}
	if isStdout(out) {
		return a.collectJob(ctx, id, "", a.print)
	}
	file, err := renameio.NewPendingFile(out, renameio.WithPermissions(0o644), renameio.WithExistingPermissions())
	if err != nil {
		return fileFault("--out", out, reason(err))
	}
	defer file.Cleanup() //nolint:errcheck // replaced, or not wanted
	to := bufio.NewWriterSize(file, 64<<10)
	err = a.collectJob(ctx, id, out, func(line []byte) error {
		if _, err := to.Write(line); err != nil {
			return fileFault("--out", out, reason(err))
		}
		return nil
	})
	if f, ok := errors.AsType[*fault](err); err != nil && (!ok || !f.whole) {
		return err
	}
	if failure := errors.Join(to.Flush(), file.CloseAtomicallyReplace()); failure != nil {
		return fileFault("--out", out, reason(failure))
	}
	return err
}

// collectJob hands each outcome of a job to write, as a line, and says how it
// has ended.
func (a *app) collectJob(ctx context.Context, id, out string, write func(line []byte) error) error {
	nc, err := a.connectSoon(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	job, err := capsign.FetchRun(ctx, nc, "", id)
	if err != nil {
		return err
	}
	if a.flags.pool != "" && a.flags.pool != job.Pool || a.flags.key != "" && a.flags.key != job.Key {
		return misuse("The job is one of pool %q and key %q.", job.Pool, job.Key)
	}
	verifier, err := newVerifier(ctx, nc, job)
	if err != nil {
		return err
	}
	bar := a.newBatchProgress("collecting", job.Items, 0)
	tally, err := collect(ctx, job.Outcomes(ctx), verifier, func(o batch.Outcome) error {
		bar.add(o.Code != "")
		line, err := o.Line()
		if err != nil {
			return err
		}
		return write(line)
	})
	bar.finish()
	s := summarize(id, out, tally, job.Items)
	switch {
	case err != nil:
		return err
	case job.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case job.Err() != nil:
		f := &fault{
			code: codeOf(job.Err()), hint: "try again later; 'cap pool status' says whether the pool signs.",
			sentence: fmt.Sprintf("%d of %d files have their outcome so far. %s", tally.Done(), job.Items, codeOf(job.Err()).Sentence()),
		}
		s.Code, s.Message, s.Hint = string(f.code), f.sentence, f.hint
		return a.concluded(s, f)
	case out == "" && !a.flags.json && tally.Refused == 0:
		fmt.Fprintf(a.stderr, "signed: %d of %d\n", s.Signed, s.Total)
		return nil
	}
	return a.concludeWhole(s, tally)
}

// collect verifies outcomes, hands each to note and counts them.
func collect(ctx context.Context, outcomes iter.Seq2[capsign.Signed, error], verifier *verifier, note func(batch.Outcome) error) (tally batch.Tally, err error) {
	for signed, err := range outcomes {
		outcome := batch.NewOutcome(signed, err)
		if err == nil {
			outcome = verifier.verify(ctx, outcome, signed.Ref)
		}
		tally.Count(outcome)
		if err := note(outcome); err != nil {
			return tally, err
		}
	}
	return tally, nil
}

// verifier holds a job's signatures against what they are to be of.
type verifier struct {
	keys *capsign.KeySet
	job  *capsign.LeftRun
}

// newVerifier returns the verifier of a job.
func newVerifier(ctx context.Context, nc *nats.Conn, job *capsign.LeftRun) (*verifier, error) {
	keys, err := capsign.FetchKeySet(ctx, nc)
	if err != nil {
		return nil, err
	}
	return &verifier{keys: keys, job: job}, nil
}

// verify returns an outcome whose signature belongs to the file as far as can be
// told, and to a version of the job's key; else one with the code that says why
// not. What others have put on the broker counts for nothing.
func (v *verifier) verify(ctx context.Context, o batch.Outcome, path string) batch.Outcome {
	key, err := v.keys.Key(o.KID)
	if err != nil || key.Name != v.job.Key || key.Pool != v.job.Pool || key.Alg != o.Alg {
		return refused(o, capsign.Integrity)
	}
	var msg []byte
	if v.job.Note == batch.Checksum {
		msg = []byte(batch.ChecksumLine(o.SHA256, path))
	} else if msg = batch.ContentsOf(ctx, path, o.SHA256); msg == nil {
		o.Unverified = true
		return o
	}
	if key.Verify(msg, o.Signature) != nil {
		return refused(o, capsign.Integrity)
	}
	return o
}

// refused returns an outcome without its signature, which does not count.
func refused(o batch.Outcome, code capsign.Code) batch.Outcome {
	return batch.Outcome{Path: o.Path, SHA256: o.SHA256, RequestID: o.RequestID, Code: code}
}

// jobsListCommand returns "cap jobs list".
func (a *app) jobsListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the jobs that the broker knows",
		Long:    "list prints the jobs that were left on the broker, the newest first: ID, when it\nwas begun, how many files it has, its pool and its key.",
		Example: "  cap jobs list",
		Args:    noArgs,
		RunE:    a.bounded(a.listJobs),
	}
}

// listedJob is what "cap jobs list --json" prints of a job.
type listedJob struct {
	Job     string    `json:"job"`
	Created time.Time `json:"created"`
	Files   int       `json:"files"`
	Pool    string    `json:"pool"`
	Key     string    `json:"key"`
	What    string    `json:"what"`
}

// listJobs prints the jobs that there are.
func (a *app) listJobs(ctx context.Context) error {
	nc, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	runs, err := capsign.FetchRuns(ctx, nc, "")
	if err != nil {
		return err
	}
	slices.SortFunc(runs, func(a, b capsign.RunInfo) int {
		return cmp.Or(b.Created.Compare(a.Created), strings.Compare(a.ID, b.ID))
	})
	jobs := make([]listedJob, len(runs))
	for i, run := range runs {
		jobs[i] = listedJob{run.ID, run.Created.UTC(), run.Items, run.Pool, printable(run.Key), cut(printable(run.Note), maxNote)}
	}
	if a.flags.json {
		return a.printJSON(struct {
			Jobs []listedJob `json:"jobs"`
		}{jobs})
	}
	if len(jobs) == 0 {
		fmt.Fprintln(a.stderr, "no jobs")
	}
	for _, job := range jobs {
		err := a.printf("%s %s %d %s %s %s\n", job.Job, stamp(job.Created), job.Files, job.Pool, job.Key, job.What)
		if err != nil {
			return err
		}
	}
	return nil
}

// maxNote is the most characters of a job's note that are shown.
const maxNote = 20
