package main

import (
	"context"
	"slices"
	"time"

	"github.com/capsign/cap/capsign"
)

// durability says when the broker acknowledges a message.
type durability string

// The durabilities that rows are measured with.
const (
	lazy   durability = "lazy"   // written to the file; on disk within two minutes
	always durability = "always" // on disk
)

// row is one line of work that the table reports on.
type row struct {
	id, what string
	sync     durability // empty where nothing is stored
	goals    goals
	measure  func(ctx context.Context, p *pass) (figures, error)
	// count, where it is set, is the load whose fsyncs are counted, and items how
	// many signatures one of its messages holds.
	count load
	items int
}

// rows returns all rows in the order of the table.
func rows() []row {
	return slices.Concat(throughputRows(), oneOffRows(), providerRows(), fleetRows(), startRows(), baselineRows())
}

// pipelined is one signature per message, many of them in flight.
func pipelined() load {
	return signAll(capsign.ClientConfig{SkipVerify: true, Timeout: patience, Pack: 1, Window: inFlight})
}

// callers call Sign, many of them at once.
func callers() load {
	return callSign(capsign.ClientConfig{SkipVerify: true, Timeout: patience}, inFlight)
}

// throughputRows are how much is signed.
func throughputRows() []row {
	batch := signAll(capsign.ClientConfig{SkipVerify: true, Timeout: patience, Pack: 256})
	verified := signAll(capsign.ClientConfig{Timeout: patience, Pack: 256})
	return []row{
		{
			id: "P1", what: "batches of 256", sync: lazy,
			goals: goals{ofRaw: 0.92, cpu: 0.040}, measure: throughput(embeddedSite, lazy, batch),
		},
		{
			id: "P1", what: "batches of 256", sync: always,
			goals: goals{ofRaw: 0.72}, measure: throughput(embeddedSite, always, batch),
			count: batch, items: 256,
		},
		{
			id: "P1", what: "batches of 256, client verifies", sync: lazy,
			measure: throughput(embeddedSite, lazy, verified),
		},
		{
			id: "P2", what: "one per message, 64 in flight", sync: lazy,
			goals: goals{ofRaw: 0.50}, measure: throughput(embeddedSite, lazy, pipelined()),
		},
		{
			id: "P2", what: "one per message, 64 in flight", sync: always,
			measure: throughput(embeddedSite, always, pipelined()), count: pipelined(), items: 1,
		},
		{
			id: "P2", what: "64 callers of Sign", sync: lazy,
			measure: throughput(embeddedSite, lazy, callers()),
		},
		{
			id: "P2", what: "64 in flight, client apart", sync: lazy,
			goals: goals{serverCPU: 0.09}, measure: throughput(ownProcessSite, lazy, pipelined()),
		},
	}
}

// oneOffRows are how long a person waits.
func oneOffRows() []row {
	return []row{
		{
			id: "P3", what: "one-off, idle", sync: lazy,
			goals: goals{p50: 0.5, p99: 1.5}, measure: idle(lazy),
		},
		{
			id: "P3", what: "one-off, idle", sync: always,
			goals: goals{p50: 1.5, p99: 4}, measure: idle(always),
			count: callSign(capsign.ClientConfig{Timeout: patience}, 1), items: 1,
		},
		{
			id: "P4", what: "one-off under load", sync: lazy,
			goals: goals{p99At50: 8, p99At80: 20}, measure: openLoop(lazy),
		},
		{id: "P4", what: "one-off under load", sync: always, measure: openLoop(always), count: callers(), items: 1},
	}
}

// providerRows are what is added to a device's and a cloud's own time.
func providerRows() []row {
	return []row{
		{id: "P5", what: "SoftHSM, P-256", goals: goals{ofModule: 0.95}, measure: onToken(capsign.ES256)},
		{id: "P5", what: "SoftHSM, Ed25519", goals: goals{ofModule: 0.95}, measure: onToken(capsign.Ed25519)},
		{id: "P5", what: "SoftHSM, RSA-3072 (PS256)", goals: goals{ofModule: 0.95}, measure: onToken(capsign.PS256)},
		inCloudRow("AWS, HTTP/1.1", awsCloud(true)),
		inCloudRow("AWS, HTTP/2", awsCloud(false)),
		inCloudRow("Google", gcpCloud),
		inCloudRow("Azure, HTTP/1.1", azureCloud(true)),
		inCloudRow("Azure, HTTP/2", azureCloud(false)),
		{id: "P6", what: "AWS, HTTP/1.1, 64 at one moment", measure: inWaves(awsCloud(true))},
		{id: "P6", what: "Azure, HTTP/1.1, 64 at one moment", measure: inWaves(azureCloud(true))},
		oneByOneRow("AWS, HTTP/1.1", awsCloud(true)),
		oneByOneRow("Google", gcpCloud),
		oneByOneRow("Azure, HTTP/1.1", azureCloud(true)),
	}
}

// fleetRows are what many items, keys and workers, a kill and telemetry cost.
func fleetRows() []row {
	return []row{
		{
			id: "P7", what: "one-off beside a bulk backlog", sync: lazy,
			goals: goals{p99: 5, bulkShare: 0.85}, measure: beside(lazy, 200),
		},
		{id: "P7", what: "one-off beside a bulk backlog", sync: always, measure: beside(always, 50)},
		{
			id: "P8", what: "telemetry on, one per message, 64 in flight", sync: lazy,
			goals: goals{telemetryCPU: 5}, measure: observed(lazy, pipelined()),
		},
		{
			id: "P9", what: "one of two workers killed, 40 ms a signature", sync: always,
			goals: goals{expressWait: 2000, bulkWait: 2000, lost: 0, doubled: 0}, measure: crash(always),
		},
		{
			id: "P10", what: "10³ and 10⁶ items queued, server and worker", sync: lazy,
			goals: goals{cpuGrowth: 1.1, memory: 300}, measure: backlogs,
		},
		{id: "P10", what: "10⁶ items queued, worker alone", sync: lazy, goals: goals{memory: 150}, measure: apart},
		{
			id: "P10", what: "1 and 1 000 key versions", sync: lazy, goals: goals{cpuGrowth: 1.1},
			measure: grown(
				func(*pass) workers { return workers{} }, func(p *pass) workers { return workers{keys: p.pace.keys} }),
		},
		{
			id: "P10", what: "1 and 8 workers", sync: lazy, goals: goals{cpuGrowth: 1.1},
			measure: grown(
				func(*pass) workers { return workers{} }, func(p *pass) workers { return workers{n: p.pace.workers} }),
		},
		{
			id: "P10", what: "8 workers, 40 ms a signature, one per message", sync: lazy,
			goals: goals{spread: 0.95}, measure: slowFleet,
		},
	}
}

// startRows are how soon a worker is there.
func startRows() []row {
	return []row{
		{
			id: "P11", what: "worker's exec to first verified signature", sync: lazy,
			measure: coldStart(lazy),
		},
		{
			id: "P11", what: "worker's exec to first verified signature", sync: always,
			goals: goals{start: 100}, measure: coldStart(always),
		},
		{id: "P11", what: "worker --version, with cgo", measure: startUp(cgoWorker)},
		{id: "P11", what: "worker --version, without cgo", measure: startUp(pureWorker)},
		{id: "P11", what: "worker --version, without the clouds' SDKs", measure: startUp(noCloudWorker)},
	}
}

// baselineRows are what one would write without cap.
func baselineRows() []row {
	return []row{
		{id: "baseline", what: "NATS micro, 64 in flight", measure: throughput(microSite, lazy, callMicro(inFlight))},
		{id: "baseline", what: "naive JetStream, 64 in flight", sync: lazy, measure: throughput(naiveSite, lazy, callNaive(inFlight))},
		{id: "baseline", what: "naive JetStream, 64 in flight", sync: always, measure: throughput(naiveSite, always, callNaive(inFlight))},
	}
}

// inCloudRow is the row of a cloud under load.
func inCloudRow(name string, open newCloud) row {
	return row{id: "P6", what: name + ", 64 in flight", goals: goals{p95Added: 3}, measure: inCloud(open)}
}

// oneByOneRow is the row of one-offs in a cloud.
func oneByOneRow(name string, open newCloud) row {
	return row{id: "P6", what: name + ", one at a time", goals: goals{p95: 60, p99: 100}, measure: oneByOne(open)}
}

// inFlight is how many requests the rows with one signature per message keep
// under way.
const inFlight = 64

// patience is after how long without a result a request fails, and with it the
// run.
const patience = 20 * time.Second
