package cli

import (
	"errors"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/loadtest"
)

// benchFlags are those of "cap bench".
type benchFlags struct {
	express, bulk        string
	step, warmup         time.Duration
	pack, size, inFlight int
	arrivals             string
	budget               []string
	skipVerify           bool
	html, out            string
}

// defaultRates is what is asked for where no lane is named.
const defaultRates = "200"

// arrivalKinds are what --arrivals takes.
var arrivalKinds = []cobra.Completion{string(loadtest.Poisson), string(loadtest.Fixed)}

// register declares the flags.
func (f *benchFlags) register(cmd *cobra.Command) {
	set := cmd.Flags()
	set.StringVar(&f.express, "express", "", "ask the express lane for `RATES`, one signature a request; without --bulk, "+defaultRates)
	set.StringVar(&f.bulk, "bulk", "", "ask the bulk lane for `RATES`")
	set.DurationVar(&f.step, "step", 10*time.Second, "keep each rate up for `TIME`")
	set.DurationVar(&f.warmup, "warmup", benchWarmup, "keep the first one up for `TIME` before anything counts")
	set.IntVar(&f.pack, "pack", 256, "on the bulk lane, ask for `N` signatures a request")
	set.IntVar(&f.size, "size", 32, "sign messages of `N` bytes")
	set.IntVar(&f.inFlight, "in-flight", 1024, "hold requests back while `N` of a lane are unanswered; they count as late")
	set.StringVar(&f.arrivals, "arrivals", string(loadtest.Poisson), "how requests fall due: poisson, as those of strangers do, or fixed, evenly: `HOW`")
	set.StringArrayVar(&f.budget, "budget", nil, "fail unless, of each rate, `LIMITS` hold, as in p95=50ms,p99=200ms or bulk:max=5s; may be given again")
	set.BoolVar(&f.skipVerify, "skip-verify", false, "do not check the signatures, which takes time of this machine's")
	set.StringVar(&f.html, "html", "", "write the report with its plots to `FILE`, a page that needs nothing else")
	set.StringVar(&f.out, "out", "", "write the report to `FILE` as JSON")
}

// config returns what the flags ask for.
func (f *benchFlags) config() (loadtest.Config, error) {
	cfg := loadtest.Config{
		Step: f.step, Warmup: f.warmup, Arrivals: loadtest.Arrivals(f.arrivals), InFlight: f.inFlight, Size: f.size,
	}
	switch {
	case !slices.Contains(arrivalKinds, f.arrivals):
		return cfg, misuse("--arrivals is poisson or fixed.")
	case f.pack < 1 || f.pack > capsign.MaxItems:
		return cfg, misuse("--pack is a number from 1 to %d.", capsign.MaxItems)
	case f.inFlight < 1 || f.inFlight > loadtest.MaxInFlight:
		return cfg, misuse("--in-flight is a number from 1 to %d.", loadtest.MaxInFlight)
	}
	var err error
	if cfg.Loads, err = f.loads(); err != nil {
		return cfg, err
	}
	for _, text := range f.budget {
		limits, err := loadtest.ParseBudget(text)
		if err != nil {
			return cfg, misuse("--budget cannot be %q; it is as in p95=50ms,p99=200ms.", text)
		}
		cfg.Budget = append(cfg.Budget, limits...)
	}
	return cfg, f.check(cfg)
}

// check refuses what no flag alone is to blame for.
func (f *benchFlags) check(cfg loadtest.Config) error {
	for _, limit := range cfg.Budget {
		if limit.Lane != "" && !slices.ContainsFunc(cfg.Loads, func(l loadtest.Load) bool { return l.Lane == limit.Lane }) {
			return misuse("--budget has a limit for the %s lane, which is not loaded.", limit.Lane)
		}
	}
	err := cfg.Check()
	switch {
	case err == nil:
		return nil
	case f.step <= 0 || f.warmup < 0 || f.step > loadtest.MaxDuration:
		return misuse("--step and --warmup are times, as in 10s.")
	case errors.Is(err, loadtest.ErrTooLong):
		return misuse("All steps together may take no longer than %s.", loadtest.MaxDuration)
	}
	return misuse("Messages of this --size do not fit into a request of this --pack.")
}

// loads returns what is asked of each lane. Where one lane has a single rate, it
// is kept up for as long as the other one's take.
func (f *benchFlags) loads() ([]loadtest.Load, error) {
	express := f.express
	if express == "" && f.bulk == "" {
		express = defaultRates
	}
	var loads []loadtest.Load
	steps := 1
	for _, lane := range []struct {
		load  loadtest.Load
		rates string
	}{
		{loadtest.Load{Lane: capsign.Express, Pack: 1}, express},
		{loadtest.Load{Lane: capsign.Bulk, Pack: f.pack}, f.bulk},
	} {
		if lane.rates == "" {
			continue
		}
		rates, err := loadtest.ParseRates(lane.rates)
		if err != nil {
			return nil, misuse("--%s cannot be %q; it is as in 100, 100,200,400 or 10..500, up to %d.", lane.load.Lane, lane.rates, loadtest.MaxRate)
		}
		lane.load.Rates = rates
		loads = append(loads, lane.load)
		steps = max(steps, len(rates))
	}
	for i := range loads {
		switch len(loads[i].Rates) {
		case steps:
		case 1:
			loads[i].Rates = slices.Repeat(loads[i].Rates, steps)
		default:
			return nil, misuse("--express and --bulk have different numbers of rates; one of them may be a single one.")
		}
	}
	return loads, nil
}

// checkFiles refuses, before the pool is put under load, files that the report
// could not be written to.
func (f *benchFlags) checkFiles(a *app) error {
	for _, file := range []struct{ flag, path string }{{"--html", f.html}, {"--out", f.out}} {
		switch file.path {
		case "":
			continue
		case "-":
			return misuse("%s is to name a file; --json prints the report as JSON.", file.flag)
		}
		if err := a.checkFile(file.flag, file.path); err != nil {
			return err
		}
	}
	if f.html != "" && f.out != "" && a.sameFile(f.html, f.out) {
		return misuse("--html and --out are the same file.")
	}
	return nil
}
