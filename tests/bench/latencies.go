package main

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// latencies collects durations from many goroutines.
type latencies struct {
	mu        sync.Mutex
	histogram *hdrhistogram.Histogram // of microseconds, up to a minute
}

// newLatencies returns an empty collection.
func newLatencies() *latencies {
	return &latencies{histogram: hdrhistogram.New(1, time.Minute.Microseconds(), 3)}
}

// record adds a duration; a minute stands for everything longer.
func (l *latencies) record(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.histogram.RecordValue(min(d, time.Minute).Microseconds()) // within range
}

// quantile returns the q-th percentile in milliseconds.
func (l *latencies) quantile(q float64) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return float64(l.histogram.ValueAtQuantile(q)) / 1000
}
