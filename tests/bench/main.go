// Command bench measures how fast cap is, as ratios to what the machine's cores
// can sign at all, beside the targets it is held to and beside what one would
// write without cap. "make bench" runs it; it takes a quarter of an hour.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are what the command line decides.
type settings struct {
	rows     []string // ids; empty means all
	pace     pace
	procs    int    // GOMAXPROCS
	waiting  int    // GOMAXPROCS of the rows whose worker waits for its signatures
	size     int    // of a message, in bytes
	profiles string // directory; empty means none
	output   string // file; empty means none
}

// run measures and prints the table. As "bench serve DIR lazy|always" it is
// the serving half of a row that has two processes, as "bench work URL KEYS AUDIT
// lazy|always DELAY ACKWAIT" a worker of its own, and as "bench token
// provider|module LIBRARY ALG SIZE PROFILES" one of those that sign on a token.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) == 3 && args[0] == "serve" {
		return serve(ctx, args[1], durability(args[2]), stdin, stdout)
	}
	if len(args) == 7 && args[0] == "work" {
		return work(ctx, args[1:], stdin, stdout)
	}
	if len(args) == 6 && args[0] == "token" {
		return serveToken(ctx, args[1:], stdin, stdout)
	}
	cfg, err := parse(args, stderr)
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(cfg.procs)
	b, err := newBench(cfg, stderr)
	if err != nil {
		return err
	}
	results, err := b.measure(ctx)
	if err := errors.Join(err, b.close()); err != nil {
		return err
	}
	m := describeMachine(cfg)
	if err := printTable(stdout, m, results); err != nil || cfg.output == "" {
		return err
	}
	return writeReport(cfg.output, m, results)
}

// parse reads the flags. Only a complete run at full length writes the report
// by default.
func parse(args []string, stderr io.Writer) (settings, error) {
	cfg := settings{pace: full}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	only := flags.String("row", "", "measure only these `rows`: P1 to P11, baseline")
	short := flags.Bool("quick", false, "one short round, to see that everything runs")
	window := flags.Duration("window", 0, "how long each round of a row counts; 0 means what the pace says")
	flags.IntVar(&cfg.procs, "gomaxprocs", workerProcs(), "GOMAXPROCS of every process measured")
	flags.IntVar(&cfg.size, "size", 256, "`bytes` per message")
	flags.StringVar(&cfg.profiles, "cpuprofile", "", "write a CPU profile of each row and round to this `directory`")
	flags.StringVar(&cfg.output, "o", "docs/performance.md", "write the report to this `file`; empty means nowhere")
	if err := flags.Parse(args); err != nil {
		return settings{}, err
	}
	if flags.NArg() > 0 {
		return settings{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *short {
		cfg.pace = quick
	}
	cfg.pace.window = cmp.Or(*window, cfg.pace.window)
	if *only != "" {
		cfg.rows = strings.Split(*only, ",")
	}
	cfg.waiting = runtime.NumCPU()
	chosen := false
	flags.Visit(func(f *flag.Flag) {
		chosen = chosen || f.Name == "o"
		if f.Name == "gomaxprocs" {
			cfg.waiting = cfg.procs
		}
	})
	if !chosen && (*short || *only != "" || cfg.profiles != "") {
		cfg.output = ""
	}
	return cfg, cfg.check()
}

// check refuses rows that do not exist and sizes that cannot be measured.
func (cfg settings) check() error {
	for _, id := range cfg.rows {
		if !slices.ContainsFunc(rows(), func(r row) bool { return r.id == id }) {
			return fmt.Errorf("no row %q", id)
		}
	}
	if cfg.procs < 1 || cfg.size < 1 {
		return errors.New("-gomaxprocs and -size must be positive")
	}
	return nil
}

// workerProcs is the GOMAXPROCS that cmd/worker sets with software keys: where cores are few, two
// more than cores and signers, so that the network does not wait for a
// signature to end.
func workerProcs() int {
	cores := runtime.NumCPU()
	if cores <= 4 {
		return cores + cores + 2
	}
	return cores
}
