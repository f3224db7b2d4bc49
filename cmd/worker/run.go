package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/audit"
	"github.com/capsign/cap/internal/broker"
	"github.com/capsign/cap/internal/config"
	"github.com/capsign/cap/internal/loginguard"
	"github.com/capsign/cap/internal/providers"
	"github.com/capsign/cap/internal/queue"
	"github.com/capsign/cap/internal/rotation"
	"github.com/capsign/cap/internal/telemetry"
)

// stopTimeout bounds how long a stopping worker finishes what is in hand.
const stopTimeout = 30 * time.Second

// serve wires one worker together and runs it until ctx ends. It returns nil
// when everything that was taken has been answered.
func serve(ctx context.Context, cfg config.Config, stdout, stderr io.Writer) (err error) {
	log := newLog(cfg.Log, stderr)
	stopTelemetry, err := telemetry.Start(ctx, "cap-worker", version)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(ctx, 5*time.Second, stopTelemetry)) }()

	data, err := openDataDir(cfg.Data)
	if err != nil {
		return err
	}
	defer data.close()
	link, err := openBroker(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer link.close()
	if err := broker.WriteLocal(cfg.Data, link.url); err != nil {
		return err
	}
	provider, err := openProvider(ctx, cfg, link.nc, log)
	if ctx.Err() != nil && provider == nil {
		return nil // told to stop while it waited
	}
	if err != nil {
		return err
	}
	defer provider.Close() //nolint:errcheck // the process ends, and its memory with it
	rulings, err := followKeyring(ctx, cfg, link.nc, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rulings.Close()) }()
	keys, err := keysOf(ctx, provider)
	if err != nil {
		return err
	}
	record, err := audit.Open(filepath.Join(cfg.Data, "audit"), cfg.NATS.AllowLazySync)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, record.Close()) }()

	spreadSigners(cfg)
	worker, err := queue.Start(ctx, link.nc, queueConfig(cfg, provider, rulings, keys, record, log))
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "listening on %s\n", cmp.Or(link.url, "the broker of context "+cfg.NATS.Context))
	log.InfoContext(ctx, "ready", "pool", cfg.Pool, "provider", provider.ProviderID(), "kid", keys[len(keys)-1].KID,
		"sign_with", signWith(cfg, link))

	select {
	case <-ctx.Done():
	case err = <-worker.Failed():
	}
	log.InfoContext(ctx, "stopping", "waits_at_most", stopTimeout.String())
	return errors.Join(err, stop(ctx, stopTimeout, worker.Stop))
}

// followKeyring begins to follow the keyrings on the broker.
func followKeyring(ctx context.Context, cfg config.Config, nc *nats.Conn, log *slog.Logger) (*rotation.Follower, error) {
	return rotation.Follow(ctx, nc, rotation.FollowConfig{
		Trust:    capsign.Trust{Roots: cfg.Keyring.Roots, Threshold: cfg.Keyring.Threshold},
		MarkPath: filepath.Join(cfg.Data, "keyring.json"), MaxStale: cfg.Keyring.MaxStale,
		Replicas: cfg.Queue.Replicas, Log: log,
	})
}

// stop calls end with a deadline of its own: the context that ended the worker
// may be done already.
func stop(ctx context.Context, d time.Duration, end func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d)
	defer cancel()
	return end(ctx)
}

// openProvider opens the key provider over the broker, which keeps what the
// pool's workers know of their token, and tells the pool's clients where that
// fails.
func openProvider(ctx context.Context, cfg config.Config, nc *nats.Conn, log *slog.Logger) (providers.Provider, error) {
	guard, err := loginguard.New(ctx, nc, cfg.Pool, cfg.Queue.Replicas)
	if err != nil {
		return nil, err
	}
	if err := broker.CheckClock(ctx, nc, "KV_"+capsign.TokensBucket); err != nil {
		return nil, err
	}
	b, err := newBackend(cfg, guard, log)
	if err != nil {
		return nil, err
	}
	return awaitProvider(ctx, b, cfg, log, func(ctx context.Context, code capsign.Code) {
		err := queue.TellPaused(ctx, nc, queue.Config{Pool: cfg.Pool, Provider: cfg.Key.Provider, Replicas: cfg.Queue.Replicas, Log: log}, code)
		if err != nil {
			log.WarnContext(ctx, "the pool's clients cannot be told", "code", string(capsign.CodeOf(err)))
		}
	})
}

// keysOf returns all key versions of a provider, the current one last.
func keysOf(ctx context.Context, provider providers.Provider) ([]capsign.Key, error) {
	kids, err := provider.ListKIDs(ctx)
	if err != nil {
		return nil, err
	}
	keys := make([]capsign.Key, len(kids))
	for i, kid := range kids {
		if keys[i], err = provider.PublicKey(ctx, kid); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// queueConfig returns what the queue takes over from the configuration.
func queueConfig(cfg config.Config, provider providers.Provider, rulings *rotation.Follower, keys []capsign.Key, record *audit.Log, log *slog.Logger) queue.Config {
	device := provider.ProviderID() != capsign.ProviderSoftware
	qc := queue.Config{
		Pool:             cfg.Pool,
		Provider:         provider.ProviderID(),
		Signer:           provider,
		Keys:             keys,
		AllowGenerate:    cfg.AllowsGenerate(),
		Root:             cfg.Purpose == "root",
		Audit:            record,
		VerifySignatures: cfg.Queue.VerifySignatures || device,
		Parallelism:      parallelism(cfg, keys),
		SharedSlots:      device,
		MaxRate:          cfg.Queue.MaxRate,
		Prefetch:         prefetch(cfg),
		ExpressAckWait:   cfg.Queue.ExpressAckWait,
		BulkAckWait:      cfg.Queue.BulkAckWait,
		MaxDeliveries:    cfg.Queue.MaxDeliveries,
		ResultKeep:       cfg.Queue.ResultKeep,
		JobsMaxBytes:     cfg.Queue.JobsMaxBytes,
		ResultsMaxBytes:  cfg.Queue.ResultsMaxBytes,
		Replicas:         cfg.Queue.Replicas,
		Version:          version,
		Log:              log,
	}
	if !qc.Root { // whose first keyring is signed before there is one
		qc.Rulings = rulings
	}
	if versions, ok := provider.(queue.Versions); ok {
		qc.Versions = versions
	}
	if changing, ok := provider.(interface{ Changed() <-chan struct{} }); ok {
		qc.Changed = changing.Changed()
	}
	if device {
		qc.SignTimeout = cfg.Key.SignTimeout
	}
	return qc
}

// cloudParallelism is how many signatures a cloud is asked for at once: it takes
// its time over each, and none of ours.
const cloudParallelism = 64

// parallelism returns how many signatures are made at once; 0 leaves it to the
// queue.
func parallelism(cfg config.Config, keys []capsign.Key) int {
	if cfg.Queue.Parallelism > 0 {
		return cfg.Queue.Parallelism
	}
	switch keys[len(keys)-1].Class {
	case capsign.ClassCloud:
		return cloudParallelism
	case capsign.ClassChip:
		return max(1, cfg.Key.PKCS11.Sessions)
	case capsign.ClassToken:
		return cfg.Key.PKCS11.Sessions
	}
	return 0
}

// softwarePrefetch is how many requests a lane holds where a signature takes
// microseconds: with a few, asking for more would cost as much as signing.
const softwarePrefetch = 64

// prefetch returns how many requests each lane holds; 0 leaves it to the queue.
func prefetch(cfg config.Config) int {
	if cfg.Queue.Prefetch == 0 && cfg.Key.Provider == capsign.ProviderSoftware {
		return max(softwarePrefetch, 2*cfg.Queue.Parallelism)
	}
	return cfg.Queue.Prefetch
}

// spreadSigners gives a small machine more Ps than cores while it signs in
// software: with every P busy signing, Go looks at the network only every
// 10 ms, and a one-off request waits for that. GOMAXPROCS in the environment
// wins.
func spreadSigners(cfg config.Config) {
	cores := runtime.NumCPU()
	if cfg.Key.Provider != capsign.ProviderSoftware || os.Getenv("GOMAXPROCS") != "" || cores > 4 {
		return
	}
	signers := cmp.Or(cfg.Queue.Parallelism, cores)
	runtime.GOMAXPROCS(cores + signers + 2)
}

// signWith returns the command that signs a file with this worker.
func signWith(cfg config.Config, link *brokerLink) string {
	switch {
	case link.url == broker.DefaultURL:
		return "cap keys sign --in FILE"
	case cfg.NATS.Context != "":
		return "cap keys sign --context " + cfg.NATS.Context + " --in FILE"
	}
	return "cap keys sign --nats " + link.url + " --in FILE"
}
