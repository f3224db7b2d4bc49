package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
)

// exitMeanings says what each exit status means, in order.
var exitMeanings = []struct {
	status  int
	meaning string
}{
	{0, "done; of verify-signature: the signature is valid"},
	{1, "a signature is not valid, or does not count any more; or over budget"},
	{2, "the command line or an input cannot be used"},
	{3, "denied"},
	{4, "no such pool, key or kid"},
	{5, "the key provider needs its operator"},
	{6, "not now; trying again is safe"},
	{7, "it is not known whether it was done; signing again is safe"},
	{8, "the configuration cannot be used"},
	{9, "the broker cannot be reached"},
	{10, "a key, keyring or signature failed its check: an alarm"},
	{someSigned, "of sign-batch and jobs: some files are signed, others were refused"},
	{70, "a bug in cap"},
	{interrupted, "interrupted: nothing is in flight, or sign-batch can go on with it"},
}

// exitStatusTopic returns the text behind "cap help exit-status".
func exitStatusTopic() *cobra.Command {
	var page strings.Builder
	page.WriteString("The exit status says what a script may do next. With --json, an error is one\n" +
		"object on stdout as well: code (below), message, and hint or choices where there\n" +
		"are some; of verify-signature also valid, which is false, and kid; of keys check\n" +
		"also pool and checks.\n\n")
	for _, exit := range exitMeanings {
		fmt.Fprintf(&page, "  %3d  %s\n", exit.status, exit.meaning)
		if exit.status != 0 {
			writeCodes(&page, exit.status)
		}
	}
	return &cobra.Command{Use: "exit-status", Short: "What the exit status means", Long: strings.TrimSpace(page.String())}
}

// writeCodes lists the codes of an exit status, three to a line.
func writeCodes(page *strings.Builder, status int) {
	var codes []string
	for _, code := range capsign.Codes() {
		if code.ExitStatus() == status {
			codes = append(codes, string(code))
		}
	}
	for some := range slices.Chunk(codes, 3) {
		fmt.Fprintf(page, "       %s\n", strings.Join(some, ", "))
	}
}

// helpCommand returns "cap help", which refuses topics that do not exist.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show help on a command or topic",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(cmd, rest[0])
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// required marks flags that a command cannot do without.
func required(cmd *cobra.Command, flags ...string) *cobra.Command {
	for _, flag := range flags {
		if err := cmd.MarkFlagRequired(flag); err != nil {
			panic(err) // cmd has no such flag
		}
	}
	return cmd
}

// usageTemplate is what follows a command's description.
const usageTemplate = `Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND [flags]{{else}}{{.UseLine}}{{end}}
{{- if .HasExample}}

Example:
{{.Example}}{{end}}
{{- if .HasAvailableSubCommands}}

Commands:
{{- range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}
{{- if .HasHelpSubCommands}}

Topics:
{{- range .Commands}}{{if .IsAdditionalHelpTopicCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}
{{- if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsagesWrapped 80 | trimTrailingWhitespaces}}{{end}}
{{- if .HasAvailableInheritedFlags}}

Global flags:
{{.InheritedFlags.FlagUsagesWrapped 80 | trimTrailingWhitespaces}}{{end}}
`
