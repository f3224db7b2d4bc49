// Command worker serves a pool: it takes signing requests from a NATS JetStream
// queue, has the pool's key provider sign them, and stores the results. Without
// arguments it brings its own broker and makes its own key.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/config"
)

// version is set when a release is built.
var version = "0.1.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if errors.Is(err, capsign.ProviderHung) && ctx.Err() == nil {
		err = replaceProcess(ctx, os.Stderr)
	}
	os.Exit(exitStatus(err, os.Stderr))
}

// run parses the command line and serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var flags flags
	cmd := &cobra.Command{
		Use:   "worker",
		Short: "Serve a pool: sign the requests of a NATS JetStream queue",
		Long: "worker serves one pool. Without arguments it starts a JetStream server on " +
			"127.0.0.1:4222 with its state under ./data, makes a software key there, and serves " +
			"the pool \"default\".",
		Example: "  worker\n  worker --config config/key.yaml --nats nats://broker:4222 --pool release",
		Args:    cobra.NoArgs,
		Version: version,
		RunE: func(cmd *cobra.Command, _ []string) error { //nolint:contextcheck // cobra hands the context on in cmd
			cfg, err := flags.config(cmd.Flags().Changed)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg, stdout, stderr)
		},
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	flags.register(cmd)
	cmd.AddCommand(auditCommand(&flags), keysCommand(&flags), resumeCommand(&flags)) //nolint:contextcheck // cobra hands the context on
	cmd.CompletionOptions.DisableDefaultCmd = true
	return cmd.ExecuteContext(ctx)
}

// flags are the command line's; each, where given, wins over the config file.
type flags struct {
	configPath, nats, natsContext, listen, pool, data string
}

// register declares the flags.
func (f *flags) register(cmd *cobra.Command) {
	set := cmd.PersistentFlags()
	set.StringVar(&f.configPath, "config", "", "read the configuration from `FILE`")
	set.StringVar(&f.nats, "nats", "", "use the NATS server or cluster at `URL` instead of the embedded server")
	set.StringVar(&f.natsContext, "context", "", "connect as the nats command's context `NAME` says")
	set.StringVar(&f.listen, "listen", "", "let the embedded server listen on `ADDR:PORT`; port 0 picks a free one (default 127.0.0.1:4222)")
	set.StringVar(&f.pool, "pool", "", "serve pool `NAME` (default \"default\")")
	set.StringVar(&f.data, "data", "", "keep keys and queues under `DIR` (default ./data)")
}

// config returns the configuration that the file and the flags make together.
func (f *flags) config(changed func(string) bool) (config.Config, error) {
	cfg := config.Default()
	if f.configPath != "" {
		loaded, err := config.Load(f.configPath)
		if err != nil {
			return config.Config{}, err
		}
		cfg = loaded
	}
	for name, set := range map[string]func(){
		"nats":    func() { cfg.NATS.URL, cfg.NATS.Context, cfg.NATS.Listen = f.nats, "", "" },
		"context": func() { cfg.NATS.URL, cfg.NATS.Context, cfg.NATS.Listen = "", f.natsContext, "" },
		"listen":  func() { cfg.NATS.URL, cfg.NATS.Context, cfg.NATS.Listen = "", "", f.listen },
		"pool":    func() { cfg.Pool = f.pool },
		"data":    func() { cfg.Data = f.data },
	} {
		if changed(name) {
			set()
		}
	}
	if err := checkFlags(changed); err != nil {
		return config.Config{}, err
	}
	return cfg, cfg.Validate()
}
