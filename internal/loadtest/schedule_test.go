package loadtest

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
)

// dues returns the instants of a load's schedule.
func dues(cfg Config, load Load, seed uint64) []time.Duration {
	var at []time.Duration
	load.Pack = max(load.Pack, 1)
	for a := range schedule(cfg, load, seed) {
		at = append(at, a.at)
	}
	return at
}

func TestFixedArrivalsAreEven(t *testing.T) {
	at := dues(Config{Step: time.Second, Arrivals: Fixed}, constant(4), 0)
	want := []time.Duration{0, 250 * time.Millisecond, 500 * time.Millisecond, 750 * time.Millisecond}
	if diff := cmp.Diff(want, at); diff != "" {
		t.Error(diff)
	}
}

// A ramp asks for the mean of its ends, and for more of it where it is steeper.
func TestRampsGoEvenlyFromOneRateToTheOther(t *testing.T) {
	for _, rate := range []Rate{{100, 300}, {300, 100}} {
		load := Load{Lane: capsign.Express, Rates: []Rate{rate}}
		at := dues(Config{Step: 10 * time.Second, Arrivals: Fixed}, load, 0)
		half := 0
		for i, due := range at {
			if i > 0 && due <= at[i-1] {
				t.Fatalf("%s: request %d is due before the one before it", rate, i)
			}
			if due < 5*time.Second {
				half++
			}
		}
		middle := (rate.From + 200) / 2 * 5
		if len(at) != 2000 || math.Abs(float64(half)-middle) > 1 {
			t.Errorf("%s: %d requests, %d in the first half, want 2000 and %g", rate, len(at), half, middle)
		}
	}
}

// The gaps of a Poisson process have a standard deviation as large as their mean.
func TestPoissonArrivals(t *testing.T) {
	cfg := Config{Step: 100 * time.Second, Arrivals: Poisson}
	at := dues(cfg, constant(100), 7)
	var sum, squares float64
	for i := range at[1:] {
		gap := (at[i+1] - at[i]).Seconds()
		sum, squares = sum+gap, squares+gap*gap
	}
	n := float64(len(at) - 1)
	mean := sum / n
	deviation := math.Sqrt(squares/n - mean*mean)
	if math.Abs(mean-0.01) > 0.0005 || math.Abs(deviation-0.01) > 0.0005 {
		t.Errorf("gaps of %g s on average, deviating by %g", mean, deviation)
	}
	if diff := cmp.Diff(at, dues(cfg, constant(100), 7)); diff != "" {
		t.Error("a seed does not give the same schedule again")
	}
	if other := dues(cfg, constant(100), 8); other[0] == at[0] {
		t.Error("two seeds give the same schedule")
	}
}

func TestAPackIsDueWhenItsSignaturesWouldBe(t *testing.T) {
	load := Load{Lane: capsign.Bulk, Rates: []Rate{{1000, 1000}}, Pack: 100}
	if at := dues(Config{Step: time.Second, Arrivals: Fixed}, load, 0); len(at) != 10 || at[1] != 100*time.Millisecond {
		t.Errorf("%v", at)
	}
}
