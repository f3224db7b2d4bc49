package main

import (
	"maps"
	"slices"
	"strconv"
)

// figure is one kind of number that a row gives.
type figure string

// The figures, as the table names them.
const (
	ofRaw     figure = "of raw"
	ofRawCPU  figure = "of raw, by CPU time"
	perSecond figure = "signatures/s"
	cpu       figure = "CPU-ms/signature"
	serverCPU figure = "CPU-ms/signature, worker and server"
	p50       figure = "p50 ms"
	p95       figure = "p95 ms"
	p99       figure = "p99 ms"
	p50At50   figure = "p50 ms at 50 %"
	p99At50   figure = "p99 ms at 50 %"
	p50At80   figure = "p50 ms at 80 %"
	p99At80   figure = "p99 ms at 80 %"
	late      figure = "generator late, p99 ms"
	start     figure = "ms"
	exit      figure = "ms to exit"
	fsyncs    figure = "fsyncs/message"
	saturated figure = "signatures/s at saturation"
	rawRate   figure = "raw signatures/s"
	rawCPU    figure = "raw CPU-ms/signature"
	others    figure = "% of the machine taken by others"

	// Of one-offs beside a backlog.
	bulkShare figure = "bulk, of its rate alone"
	queued    figure = "bulk items still queued at the end"

	// Of telemetry, beside none.
	telemetryCPU  figure = "% of CPU time added by telemetry"
	telemetryRate figure = "% of the rate lost by telemetry"

	// Of a worker's crash.
	expressWait figure = "express: longest wait, ms"
	bulkWait    figure = "bulk: longest wait beyond AckWait, ms"
	taken       figure = "requests taken over from the killed worker"
	lost        figure = "requests lost"
	doubled     figure = "requests released twice"

	// Of work that grows.
	cpuFew     figure = "CPU-ms/signature, few"
	cpuMany    figure = "CPU-ms/signature, many"
	cpuGrowth  figure = "CPU time of many, of few"
	memory     figure = "MB of memory at most"
	spread     figure = "of so many times one worker"
	oneWorker  figure = "signatures/s of one worker"
	allWorkers figure = "signatures/s of all workers"

	// Of a provider on a token, beside the token's module alone.
	ofModule         figure = "of the module"
	ofModuleVerified figure = "of the module, with the queue's verification"
	ofModuleCPU      figure = "of the module, by CPU time"
	tokenRate        figure = "provider signatures/s"
	moduleRate       figure = "module signatures/s"
	moduleSessions   figure = "module's best number of sessions"
	moduleCPU        figure = "module CPU-ms/signature"

	// Of a program's start.
	exitEmpty  figure = "ms to exit of an empty Go program"
	inits      figure = "ms in package initialisation"
	binarySize figure = "MB of binary"

	// Of a provider in a cloud, beside the vendor's SDK with its defaults.
	p50Added figure = "p50 ms added to the service's 40"
	p95Added figure = "p95 ms added to the service's 40"
	p99Added figure = "p99 ms added to the service's 40"
	p50SDK   figure = "p50 ms added, SDK's defaults"
	p95SDK   figure = "p95 ms added, SDK's defaults"
	p99SDK   figure = "p99 ms added, SDK's defaults"
	p95Sleep figure = "p95 ms that a sleep of 40 is late"
)

// order is the order of the figures in a row.
var order = []figure{
	ofRaw, ofRawCPU, ofModule, ofModuleVerified, ofModuleCPU, p50, p95, p99, p50At50, p99At50, p50At80, p99At80,
	bulkShare, queued, telemetryCPU, telemetryRate, expressWait, bulkWait, taken, lost, doubled,
	cpuGrowth, cpuFew, cpuMany, spread, oneWorker, allWorkers, memory, p50Added, p95Added, p99Added, p50SDK, p95SDK, p99SDK, p95Sleep, start, exit, exitEmpty, inits, binarySize,
	cpu, serverCPU, fsyncs, perSecond, saturated, late,
	tokenRate, moduleRate, moduleSessions, moduleCPU, rawRate, rawCPU, others,
}

// figures are the numbers of one repetition, or their medians.
type figures map[figure]float64

// goals are the bounds that figures are held to.
type goals map[figure]float64

// isShare reports whether f is a share of what could be had at most. Those
// should be high; everything else should be low.
func (f figure) isShare() bool {
	return slices.Contains([]figure{ofRaw, ofRawCPU, ofModule, ofModuleVerified, ofModuleCPU, bulkShare, spread}, f)
}

// met reports whether a value keeps to the bound of f.
func (f figure) met(value, bound float64) bool {
	if f.isShare() {
		return value >= bound
	}
	return value <= bound
}

// bound returns f's bound as the table shows it.
func (f figure) bound(value float64) string {
	if f.isShare() {
		return "≥ " + f.format(value)
	}
	return "≤ " + f.format(value)
}

// format returns a value with the digits that mean something.
func (f figure) format(value float64) string {
	digits := 2
	switch f {
	case perSecond, saturated, rawRate, tokenRate, moduleRate, moduleSessions, others, start,
		queued, expressWait, bulkWait, taken, lost, doubled, memory, oneWorker, allWorkers:
		digits = 0
	case cpu, serverCPU, rawCPU, moduleCPU, ofRaw, ofRawCPU, ofModule, ofModuleVerified, ofModuleCPU,
		bulkShare, cpuFew, cpuMany, cpuGrowth, spread:
		digits = 3
	}
	return strconv.FormatFloat(value, 'f', digits, 64)
}

// medians returns the median of each figure over repetitions.
func medians(samples []figures) figures {
	values := make(map[figure][]float64)
	for _, sample := range samples {
		for f, v := range sample {
			values[f] = append(values[f], v)
		}
	}
	middle := make(figures)
	for f, vs := range maps.All(values) {
		middle[f] = median(vs)
	}
	return middle
}

// median returns the middle of values, or the mean of the middle two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
