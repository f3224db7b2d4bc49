package latency

import (
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/config"
)

// Budgets is a file of latency budgets and of what it takes to believe that they
// were kept. Its zero value is not usable; [Default] is.
type Budgets struct {
	// Sampling is the share of requests whose traces the installation records, as
	// OTEL_TRACES_SAMPLER_ARG says, more than 0 and at most 1. Default 0.01.
	Sampling float64 `yaml:"sampling"`
	// MinSamples is how many samples a line of the budgets needs, at least 100:
	// a percentile of few says nothing. Default 1000.
	MinSamples int `yaml:"min_samples"`
	// MinCoverage is the least share of the spans that there should be, signatures
	// times Sampling, which must have arrived. Default 0.95.
	MinCoverage float64 `yaml:"min_coverage"`
	// MaxFailed is the greatest share of a line's samples that may have failed,
	// whatever the time they took. Default 0.01.
	MaxFailed float64 `yaml:"max_failed"`
	// Sign is for the wait for a slot and a session and the provider's call, of
	// each signature on every lane.
	Sign Classes `yaml:"sign"`
	// Express is for a request of the express lane, from its publication to its
	// result in the publisher's hand.
	Express Classes `yaml:"express"`
	// Pools has budgets of pools of their own, by the pool's name. What a pool
	// leaves out is as above.
	Pools map[string]Pool `yaml:"pools"`
}

// Pool is what differs in one pool.
type Pool struct {
	Sign    Limits `yaml:"sign"`
	Express Limits `yaml:"express"`
}

// Classes has the limits of each class of key providers.
type Classes struct {
	Software Limits `yaml:"software"`
	Token    Limits `yaml:"token"`
	Chip     Limits `yaml:"chip"`
	Cloud    Limits `yaml:"cloud"`
}

// Limits bounds two percentiles.
type Limits struct {
	// P95 and P99 are what 95 and 99 of 100 may take at most; zero means that
	// there is no limit.
	P95 time.Duration `yaml:"p95"`
	P99 time.Duration `yaml:"p99"`
}

// classes are those that have budgets, in the order of a report.
var classes = []capsign.Class{capsign.ClassSoftware, capsign.ClassToken, capsign.ClassChip, capsign.ClassCloud}

// of returns the limits of a class.
func (c Classes) of(class capsign.Class) Limits {
	switch class {
	case capsign.ClassSoftware:
		return c.Software
	case capsign.ClassToken:
		return c.Token
	case capsign.ClassChip:
		return c.Chip
	case capsign.ClassCloud:
		return c.Cloud
	}
	return Limits{}
}

// Default returns cap's own budgets, which config/budgets.yaml spells out: 95 of
// 100 signatures within 50 ms in memory and on tokens, 150 ms in a cloud, a
// second on a chip, and 99 of 100 within 200 ms but on a chip.
func Default() Budgets {
	budgets := Classes{
		Software: Limits{50 * time.Millisecond, 200 * time.Millisecond},
		Token:    Limits{50 * time.Millisecond, 200 * time.Millisecond},
		Chip:     Limits{P95: time.Second},
		Cloud:    Limits{150 * time.Millisecond, 200 * time.Millisecond},
	}
	return Budgets{Sampling: 0.01, MinSamples: 1000, MinCoverage: 0.95, MaxFailed: 0.01, Sign: budgets, Express: budgets}
}

// Load reads a file of budgets. What it does not say is as in [Default], and a
// section of classes that it has replaces all of that section. An error is a
// [*config.Error] with every fault found.
func Load(path string) (Budgets, error) {
	budgets := unset()
	if err := config.LoadInto(path, &budgets, func() []config.Fault { return budgets.faults() }); err != nil { //nolint:gocritic // once they are loaded
		return Budgets{}, err
	}
	return budgets.filled(), nil
}

// Parse is [Load] for a file's content.
func Parse(data []byte) (Budgets, error) {
	budgets := unset()
	if err := config.ParseInto(data, &budgets, func() []config.Fault { return budgets.faults() }); err != nil { //nolint:gocritic // likewise
		return Budgets{}, err
	}
	return budgets.filled(), nil
}

// unset returns the defaults without limits.
func unset() Budgets {
	b := Default()
	b.Sign, b.Express = Classes{}, Classes{}
	return b
}

// filled returns b with the default limits for the sections that set none.
func (b Budgets) filled() Budgets {
	if b.Sign == (Classes{}) {
		b.Sign = Default().Sign
	}
	if b.Express == (Classes{}) {
		b.Express = Default().Express
	}
	return b
}

// faults returns all that is wrong with the values.
func (b Budgets) faults() []config.Fault {
	var faults []config.Fault
	that := func(key string, ok bool, problem string) {
		if !ok {
			faults = append(faults, config.Fault{Key: key, Problem: problem})
		}
	}
	limits := func(key string, l Limits) {
		that(key+".p95", l.P95 >= 0 && l.P95 <= MaxDuration, "must be from 0s to 1h")
		that(key+".p99", l.P99 >= 0 && l.P99 <= MaxDuration, "must be from 0s to 1h")
		that(key+".p99", l.P99 == 0 || l.P99 >= l.P95, "must not be less than p95")
	}
	that("sampling", b.Sampling > 0 && b.Sampling <= 1, "must be more than 0 and at most 1")
	that("min_samples", b.MinSamples >= 100 && b.MinSamples <= 1e9, "must be from 100 to 1000000000")
	that("min_coverage", b.MinCoverage >= 0.5 && b.MinCoverage <= 1, "must be from 0.5 to 1")
	that("max_failed", b.MaxFailed >= 0 && b.MaxFailed <= 1, "must be from 0 to 1")
	for _, class := range classes {
		limits("sign."+string(class), b.Sign.of(class))
		limits("express."+string(class), b.Express.of(class))
	}
	for name, pool := range b.Pools {
		limits("pools."+name+".sign", pool.Sign)
		limits("pools."+name+".express", pool.Express)
	}
	return faults
}
