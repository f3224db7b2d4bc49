package cli

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
)

// fault is an error of cap's own: a code with a sentence that says more than
// the code's.
type fault struct {
	code     capsign.Code
	sentence string
	hint     string // what to do about it; empty means what there is for the code
	misuse   bool   // of the command line: its hint is the command's help
	silent   bool   // the person has been told already
	exit     int    // the exit status; 0 means the code's
	// interrupted says that an interrupt ended what can be taken up again, as
	// the hint says.
	interrupted bool
	// whole says that each of many files has its outcome, though not all are
	// signed.
	whole bool
}

// Error returns the sentence.
func (f *fault) Error() string { return f.sentence }

// Unwrap returns the code.
func (f *fault) Unwrap() error { return f.code }

// misuse returns the fault of a command line that cannot be obeyed.
func misuse(format string, args ...any) error {
	return &fault{code: capsign.BadRequest, sentence: fmt.Sprintf(format, args...), misuse: true}
}

// unknownCommand returns the fault of a name that is no command of cmd's.
func unknownCommand(cmd *cobra.Command, name string) error {
	f := &fault{
		code: capsign.BadRequest, sentence: fmt.Sprintf("There is no command %q.", name),
		hint: "'" + cmd.CommandPath() + " --help' lists the commands.",
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		f.hint = fmt.Sprintf("did you mean '%s %s'?", cmd.CommandPath(), near[0])
	}
	return f
}

// noArgs refuses arguments that are not flags.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	f := &fault{code: capsign.BadRequest, sentence: fmt.Sprintf("Unexpected argument %q.", args[0]), misuse: true}
	if in := cmd.Flags().Lookup("in"); in != nil && !in.Changed {
		f.hint = "did you mean --in " + shellWord(args[0]) + "?"
	}
	return f
}

// coded returns err, made capsign.Internal where it has no code.
func coded(err error) error {
	if err == nil {
		return nil
	}
	if code, ok := errors.AsType[capsign.Code](err); ok && code.Known() {
		return err
	}
	return fmt.Errorf("%w: %w", capsign.Internal, err)
}

// codeOf returns the code that err wraps. An error without one is cobra's, of a
// command line it cannot parse: bounded sees to all others.
func codeOf(err error) capsign.Code {
	if code, ok := errors.AsType[capsign.Code](err); ok {
		return code
	}
	return capsign.BadRequest
}

// sentenceOf returns the sentence that explains err.
func sentenceOf(err error) string {
	if f, ok := errors.AsType[*fault](err); ok {
		return printable(f.sentence)
	}
	if code, ok := errors.AsType[capsign.Code](err); ok {
		return code.Sentence()
	}
	first, size := utf8.DecodeRuneInString(err.Error())
	return printable(string(unicode.ToUpper(first)) + strings.TrimRight(err.Error()[size:], ".") + ".")
}

// printable returns s without characters that would move a terminal's cursor
// or change its colours.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
