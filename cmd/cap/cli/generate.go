package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
)

// generateTimeout is how long generate waits where it is not told otherwise: a
// cloud's HSM takes its time.
const generateTimeout = 2 * time.Minute

// generateAdvice says what to do about what only generate means by a code.
var generateAdvice = map[capsign.Code]string{
	capsign.Denied:         "the worker's configuration must allow it: key.allow_generate: true.",
	capsign.ResultTimeout:  "a version may have been made: run 'cap keys info' before trying again.",
	capsign.ProviderDenied: "let the worker's identity make keys as well; docs/providers has the policy that does.",
	capsign.Integrity:      "that was no worker's answer; a version may have been made: 'cap keys info' lists it.",
	capsign.ConfigInvalid:  "the worker's configuration does not say enough to make a key; its log says more.",
}

// generateCommand returns "cap keys generate".
func (a *app) generateCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Make a further version of a pool's key",
		Long: "generate has one of the pool's workers make a further version of its key in its\n" +
			"backend, where the worker's configuration allows that, and prints the new kid.\n" +
			"The private key stays there. The current version goes on signing: where there\n" +
			"is a keyring until 'cap rotate apply --to KID', else until the workers start\n" +
			"again. After exit status 7 a version may have been made: see 'cap keys info'.",
		Example: "  cap keys generate --pool default",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.flags.timeout = timeout
			return a.bounded(a.generate)(cmd, args)
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", generateTimeout, "give up after `TIME`")
	return cmd
}

// generated is what "cap keys generate --json" prints.
type generated struct {
	KID  string `json:"kid"`
	Pool string `json:"pool"`
}

// generate has a key version made and prints its kid.
func (a *app) generate(ctx context.Context) error {
	return a.atPool(ctx, func(nc *nats.Conn, pool capsign.Pool) error {
		kid, err := ask(ctx, a, func(ctx context.Context) (string, error) { return capsign.GenerateKey(ctx, nc, pool.Name) })
		if err != nil {
			return advised(err, pool.Name, generateAdvice)
		}
		if a.flags.json {
			return a.printJSON(generated{KID: kid, Pool: pool.Name})
		}
		if err := a.printf("%s\n", kid); err != nil {
			return err
		}
		if isTerminal(a.stderr) {
			fmt.Fprintln(a.stderr, "The current key version goes on signing until 'cap rotate apply', or without a keyring until the workers start again.")
		}
		return nil
	})
}
