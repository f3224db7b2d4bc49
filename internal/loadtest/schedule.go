package loadtest

import (
	"iter"
	"math"
	"math/rand/v2"
	"time"
)

// Arrivals says how requests fall due.
type Arrivals string

// How requests fall due: as those of many people who do not know of each other,
// or one after the other at even distances.
const (
	Poisson Arrivals = "poisson"
	Fixed   Arrivals = "fixed"
)

// warming is the step that nothing counts in.
const warming = -1

// arrival is one request of the schedule.
type arrival struct {
	at   time.Duration // since the run began
	step int           // index of the load's rates, or warming
}

// schedule yields when the requests of a load fall due. It depends on nothing but
// its arguments: no answer changes it, and a seed gives the same one again.
func schedule(cfg Config, load Load, seed uint64) iter.Seq[arrival] {
	random := rand.New(rand.NewPCG(1, seed)) // instants, not secrets
	return func(yield func(arrival) bool) {
		first := load.Rates[0].From
		for at := range instants(Rate{first, first}, load.Pack, cfg.Warmup, cfg.Arrivals, random) {
			if !yield(arrival{at, warming}) {
				return
			}
		}
		for step, rate := range load.Rates {
			begin := cfg.Warmup + time.Duration(step)*cfg.Step
			for at := range instants(rate, load.Pack, cfg.Step, cfg.Arrivals, random) {
				if !yield(arrival{begin + at, step}) {
					return
				}
			}
		}
	}
}

// instants yields when requests of pack signatures each fall due at a rate, for a
// step: where the number that the rate has asked for by then passes 0, 1, 2 and
// so on or, for a Poisson process, sums of exponentially distributed gaps.
func instants(rate Rate, pack int, step time.Duration, arrivals Arrivals, random *rand.Rand) iter.Seq[time.Duration] {
	perPack := Rate{rate.From / float64(pack), rate.To / float64(pack)}
	return func(yield func(time.Duration) bool) {
		asked := 0.0
		if arrivals == Poisson {
			asked = random.ExpFloat64()
		}
		for {
			at := perPack.reaches(asked, step)
			if at >= step || !yield(at) {
				return
			}
			if arrivals == Poisson {
				asked += random.ExpFloat64()
			} else {
				asked++
			}
		}
	}
}

// reaches returns when a rate, kept up from the beginning of a step, has asked
// for n requests; step or more where it does not within the step.
func (r Rate) reaches(n float64, step time.Duration) time.Duration {
	seconds := step.Seconds()
	if n >= r.mean()*seconds {
		return step
	}
	slope := (r.To - r.From) / seconds
	// Of the two ways to write the root of n = From t + slope t²/2, this one is
	// exact for a slope of 0 as well.
	t := 2 * n / (r.From + math.Sqrt(r.From*r.From+2*slope*n))
	return time.Duration(t * float64(time.Second))
}
