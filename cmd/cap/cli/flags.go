package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/broker"
)

// flags are those that every command has.
type flags struct {
	nats, context, creds, data string
	pool, key                  string
	timeout                    time.Duration
	json                       bool
}

// register declares the flags on the root command.
func (f *flags) register(root *cobra.Command) {
	set := root.PersistentFlags()
	set.StringVar(&f.nats, "nats", "", "the broker is at `URL` (env NATS_URL)")
	set.StringVar(&f.context, "context", "", "the broker is nats context `NAME`'s (env NATS_CONTEXT)")
	set.StringVar(&f.creds, "creds", "", "the NATS credentials are in `FILE`")
	set.StringVar(&f.data, "data", "", "find a worker by its data `DIR` (env CAP_DATA, or ./data)")
	set.StringVar(&f.pool, "pool", "", "ask pool `NAME`, where there are several")
	set.StringVar(&f.key, "key", "", "use the key called `NAME`, where there are several")
	set.DurationVar(&f.timeout, "timeout", defaultTimeout, "give up after `TIME`, reading included")
	set.BoolVar(&f.json, "json", false, "print one JSON object, errors too")
}

// checkFlags refuses a command line without a required flag, or with a flag set
// to nothing: in a script, that is a variable without a value.
func checkFlags(cmd *cobra.Command, _ []string) error {
	var missing, empty []string
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		switch {
		case !flag.Changed && flag.Annotations[cobra.BashCompOneRequiredFlag] != nil:
			missing = append(missing, "--"+flag.Name)
		case flag.Changed && flag.Value.String() == "":
			empty = append(empty, "--"+flag.Name)
		}
	})
	switch {
	case len(missing) > 0:
		return misuse("Missing: %s.", strings.Join(missing, ", "))
	case len(empty) > 0:
		return misuse("Set to nothing: %s.", strings.Join(empty, ", "))
	}
	return nil
}

// flagFault explains a flag that cannot be parsed.
func flagFault(_ *cobra.Command, err error) error {
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return misuse("--%s cannot be %q.", invalid.GetFlag().Name, invalid.GetValue())
	}
	return err
}

// isFile reports whether path leads to something other than a directory.
func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// target says which broker to connect to, and where cap has that from. The
// first that is given wins: flags, environment, a local worker's data
// directory, the address where a worker listens by default.
func (f *flags) target() (target broker.Target, origin string, err error) {
	target = broker.Target{Creds: f.creds, Name: "cap " + Version}
	switch {
	case f.creds != "" && !isFile(f.creds):
		return target, "", &fault{code: capsign.BadRequest, sentence: fmt.Sprintf("--creds %q is not a file.", f.creds)}
	case f.nats != "" && f.context != "":
		return target, "", misuse("--nats and --context exclude each other.")
	case f.context != "" && f.creds != "":
		return target, "", misuse("--context and --creds exclude each other: a context names its own credentials.")
	case f.nats != "":
		target.URL = f.nats
		return target, "--nats", nil
	case f.context != "":
		target.Context = f.context
		return target, "--context", nil
	case os.Getenv("NATS_URL") != "":
		target.URL = os.Getenv("NATS_URL")
		return target, "NATS_URL", nil
	case os.Getenv("NATS_CONTEXT") != "" && f.creds == "":
		target.Context = os.Getenv("NATS_CONTEXT")
		return target, "NATS_CONTEXT", nil
	}
	return f.localTarget(target)
}

// localTarget completes a target with what a worker on this machine left, or
// with the default address.
func (f *flags) localTarget(target broker.Target) (broker.Target, string, error) {
	dir := f.data
	if dir == "" {
		dir = os.Getenv("CAP_DATA")
	}
	if dir == "" {
		dir = "data"
	}
	file := filepath.Join(dir, "client.json")
	url, err := broker.ReadLocal(dir)
	if err != nil {
		return target, "", &fault{
			code: codeOf(err), sentence: "The data directory's client.json cannot be used.",
			hint: "it must be this user's alone (chmod 600); restart the worker, which writes it anew, or give --nats URL.",
		}
	}
	if url == "" {
		target.URL = broker.DefaultURL
		return target, "the default, as there is no " + file, nil
	}
	target.URL = url
	return target, file, nil
}
