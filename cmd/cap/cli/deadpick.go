package cli

import (
	"context"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/deadletter"
)

// pick is a choice of dead letters: some by number, or all of a code.
type pick struct {
	all    bool
	code   string
	dryRun bool
	seqs   []uint64
}

// register declares the flags of a command that needs a choice.
func (p *pick) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.all, "all", false, "choose all letters that have the --code; --pool narrows it")
	cmd.Flags().StringVar(&p.code, "code", "", "choose letters of `CODE`, with --all")
	cmd.Flags().BoolVar(&p.dryRun, "dry-run", false, "show what would be done, and do nothing")
}

// command returns a RunE that takes the letters' numbers as its arguments.
func (p *pick) command(a *app, run func(ctx context.Context) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := p.parse(args); err != nil {
			return err
		}
		return a.steps(run)(cmd, nil)
	}
}

// parse reads the numbers and refuses half a choice.
func (p *pick) parse(args []string) error {
	switch {
	case p.all && len(args) > 0:
		return misuse("--all and SEQs exclude each other.")
	case p.all && p.code == "":
		return misuse("--all needs --code, as in --all --code %s.", capsign.RetriesExhausted)
	case !p.all && p.code != "":
		return misuse("--code chooses with --all only.")
	case !p.all && len(args) == 0:
		return misuse("Missing: SEQ, or --all --code CODE.")
	}
	for _, arg := range args {
		seq, err := parseSeq(arg)
		if err != nil {
			return err
		}
		if !slices.Contains(p.seqs, seq) {
			p.seqs = append(p.seqs, seq)
		}
	}
	return checkCode(capsign.Code(p.code))
}

// parseSeq reads a letter's number.
func parseSeq(arg string) (uint64, error) {
	seq, err := strconv.ParseUint(arg, 10, 64)
	if err != nil || seq == 0 {
		return 0, misuse("%q is no letter's number; 'cap dead list' shows them.", arg)
	}
	return seq, nil
}

// numbers returns the numbers of the letters that are chosen: those that are
// there now, so that a command that makes new ones comes to an end.
func (p *pick) numbers(ctx context.Context, a *app, box *deadletter.Box) ([]uint64, error) {
	if !p.all {
		return p.seqs, nil
	}
	var seqs []uint64
	for entry, err := range chosen(box.Letters(ctx, a.flags.pool), capsign.Code(p.code)) {
		if err != nil {
			return nil, err
		}
		seqs = append(seqs, entry.Seq)
	}
	return seqs, nil
}

// get returns a letter and its body. One that was named, and not by --all, must
// be of the --pool.
func (p *pick) get(ctx context.Context, a *app, box *deadletter.Box, seq uint64) (deadletter.Entry, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, a.flags.timeout)
	defer cancel()
	entry, body, err := box.Get(ctx, seq)
	if err == nil && a.flags.pool != "" && entry.Pool != a.flags.pool {
		return deadletter.Entry{}, nil, capsign.LetterUnknown
	}
	return entry, body, err
}
