package cli

import (
	"context"
	"fmt"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/batch"
)

// someSigned is the exit status where some of many files are signed and others
// were refused.
const someSigned = 11

// batchSummary is what "cap sign-batch --json" prints, and "cap jobs get --json":
// Code, Message and Hint where not all is signed.
type batchSummary struct {
	// Outcome is "all", "some" or "none".
	Outcome string `json:"outcome"`
	// Complete says that every file has its outcome.
	Complete bool `json:"complete"`
	Total    int  `json:"total"`
	Signed   int  `json:"signed"`
	Refused  int  `json:"refused"`
	// Codes counts the refused files by their code.
	Codes map[capsign.Code]int `json:"codes,omitzero"`
	Out   string               `json:"out,omitzero"`
	// Run is the id that its requests begin with.
	Run     string `json:"run"`
	Code    string `json:"code,omitzero"`
	Message string `json:"message,omitzero"`
	Hint    string `json:"hint,omitzero"`
}

// summarize counts up what became of total files.
func summarize(id, out string, tally batch.Tally, total int) batchSummary {
	s := batchSummary{
		Outcome: "some", Complete: tally.Done() == total, Total: total, Signed: tally.Signed, Refused: tally.Refused,
		Codes: tally.Codes, Out: out, Run: id,
	}
	switch tally.Signed {
	case 0:
		s.Outcome = "none"
	case total:
		s.Outcome = "all"
	}
	return s
}

// concludeBatch says how a run has ended; cause is why it ended early, or nil.
func (a *app) concludeBatch(ctx context.Context, run *batch.Run, b batchFlags, cause error) error {
	s := summarize(run.ID, b.out, run.Tally, run.Items)
	if cause != nil || ctx.Err() != nil {
		return a.concludeEarly(ctx, s, cause)
	}
	return a.concludeWhole(s, run.Tally)
}

// concludeEarly says that a run can be taken up again.
func (a *app) concludeEarly(ctx context.Context, s batchSummary, cause error) error {
	const again = "the same command goes on where this one stopped."
	f := &fault{code: codeOf(cause), sentence: "Interrupted.", hint: again, interrupted: true}
	if ctx.Err() == nil {
		p := a.problem(nil, cause)
		f = &fault{code: codeOf(cause), sentence: fmt.Sprintf("It ended with %d of %d files done: %s", s.Signed+s.Refused, s.Total, p.Message), hint: again}
		if p.Hint != "" {
			f.hint = p.Hint + " Then " + again
		}
	}
	s.Code, s.Message, s.Hint = string(f.code), f.sentence, f.hint
	if f.interrupted {
		s.Code = "interrupted"
	}
	return a.concluded(s, f)
}

// concludeWhole says what became of the files of a run that is complete.
func (a *app) concludeWhole(s batchSummary, tally batch.Tally) error {
	if s.Refused == 0 {
		if a.flags.json {
			return a.printJSON(s)
		}
		return a.printf("signed: %d of %d\n", s.Signed, s.Total)
	}
	code := worst(tally.Sorted())
	f := &fault{
		code: code, hint: batchHints[code], whole: true,
		sentence: fmt.Sprintf("%d of %d files are not signed (%s). %s", s.Refused, s.Total, codesOf(tally), batchSentence(code)),
	}
	if s.Signed > 0 {
		f.exit = someSigned
	}
	s.Code, s.Message, s.Hint = string(code), f.sentence, f.hint
	if !a.flags.json {
		if err := a.printf("signed: %d of %d\n", s.Signed, s.Total); err != nil {
			return err
		}
	}
	return a.concluded(s, f)
}

// batchSentence explains a code as it is meant of a file.
func batchSentence(code capsign.Code) string {
	switch code {
	case capsign.BadRequest:
		return "A file cannot be read, or is none."
	case capsign.TooLarge:
		return "A file is larger than 760 KiB."
	case capsign.Denied:
		return "A file is what only a root signs."
	}
	return code.Sentence()
}

// batchHints say what to do about files that are not signed.
var batchHints = map[capsign.Code]string{
	capsign.TooLarge:         "--what checksum signs files of any size.",
	capsign.BadRequest:       "the outcomes say which; sign those again once they can be read.",
	capsign.ArtifactChanged:  "the outcomes say which; find out what changed them.",
	capsign.RetriesExhausted: "the worker's log says why; sign those again.",
	capsign.RequestExpired:   "sign those again, with a longer --timeout.",
}
