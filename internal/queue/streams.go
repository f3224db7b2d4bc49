package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/deadletter"
)

// provision is provisionOnce, tried again where the broker could not say: the
// servers of a cluster leave some questions unanswered, or refuse them, while
// they elect who leads.
func (w *Worker) provision(ctx context.Context) error {
	const tries, pause = 5, time.Second
	for n := 1; ; n++ {
		err := w.provisionOnce(ctx)
		code := capsign.CodeOf(err)
		if passing := code == capsign.BrokerUnreachable || code == capsign.QueueUnavailable; err == nil || !passing || n == tries {
			return err
		}
		w.cfg.Log.WarnContext(ctx, "the broker is not ready; trying again", "code", string(code))
		if !sleep(ctx, pause) {
			return err
		}
	}
}

// provisionOnce creates the streams and buckets that are not there yet and
// refuses to go on where one exists that does not give what the queue promises.
// It leaves sizes and ages of existing ones as their operator set them.
func (w *Worker) provisionOnce(ctx context.Context) error {
	js, cfg := w.js, w.cfg
	for _, want := range []jetstream.StreamConfig{jobsConfig(cfg), resultsConfig(cfg), runsConfig(cfg), deadConfig(cfg)} {
		stream, err := js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			stream, err = js.Stream(ctx, want.Name)
		}
		if err != nil {
			return fmt.Errorf("provision %s: %w", want.Name, streamCode(err))
		}
		if !keepsPromises(stream.CachedInfo().Config, want) {
			return fmt.Errorf("provision %s: %w", want.Name, capsign.QueueMismatch)
		}
	}
	for _, bucket := range []string{capsign.KeysBucket, capsign.PoolsBucket} {
		kv := jetstream.KeyValueConfig{Bucket: bucket, History: 1, Storage: jetstream.FileStorage, Replicas: cfg.Replicas}
		if _, err := js.CreateKeyValue(ctx, kv); err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
			return fmt.Errorf("provision %s: %w", bucket, streamCode(err))
		}
	}
	return nil
}

// jobsConfig is a pool's work queue. A full one refuses new requests rather
// than dropping old ones.
func jobsConfig(cfg Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:       capsign.JobsStream(cfg.Pool),
		Subjects:   []string{"cap.job.*." + cfg.Pool + ".>"},
		Retention:  jetstream.WorkQueuePolicy,
		Storage:    jetstream.FileStorage,
		Discard:    jetstream.DiscardNew,
		MaxBytes:   cfg.JobsMaxBytes,
		MaxMsgSize: 1 << 20,
		Replicas:   cfg.Replicas,
	}
}

// resultsConfig is the write-once store of all pools: one message per subject,
// a second one refused, each repeated to the requester once it is stored.
func resultsConfig(cfg Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:                 capsign.ResultsStream,
		Subjects:             []string{"cap.store.>"},
		Storage:              jetstream.FileStorage,
		Discard:              jetstream.DiscardNew,
		DiscardNewPerSubject: true,
		MaxMsgsPerSubject:    1,
		MaxAge:               cfg.ResultKeep,
		MaxBytes:             cfg.ResultsMaxBytes,
		AllowDirect:          true,
		RePublish:            &jetstream.RePublish{Source: "cap.store.>", Destination: "cap.result.>"},
		Replicas:             cfg.Replicas,
	}
}

// runsConfig keeps what publishers say of the runs that they leave: as long as a
// request may wait, and then its result be asked for. A full one refuses more.
func runsConfig(cfg Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              capsign.RunsStream,
		Subjects:          []string{"cap.run.>"},
		Storage:           jetstream.FileStorage,
		Discard:           jetstream.DiscardNew,
		MaxMsgsPerSubject: 1,
		MaxMsgSize:        1 << 20,
		MaxAge:            2 * cfg.ResultKeep,
		MaxBytes:          1 << 30,
		AllowDirect:       true,
		Replicas:          cfg.Replicas,
	}
}

// deadConfig keeps dead letters for a month, the newest where there are too
// many.
func deadConfig(cfg Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:     deadletter.Stream,
		Subjects: []string{deadletter.Subject(">")},
		Storage:  jetstream.FileStorage,
		MaxAge:   30 * 24 * time.Hour,
		MaxBytes: 256 << 20,
		Replicas: cfg.Replicas,
	}
}

// consumerConfig is a lane's durable pull consumer. Deliveries are counted by
// the worker, since a work queue keeps a message that ran out of them for ever.
func consumerConfig(pool string, name capsign.Lane, ackWait time.Duration) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       string(name),
		FilterSubject: "cap.job.*." + pool + "." + string(name) + ".*",
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxDeliver:    -1,
		MaxAckPending: 8192,
	}
}

// keepsPromises reports whether an existing stream has the settings that
// durability, write-once results and answers rest on.
func keepsPromises(have, want jetstream.StreamConfig) bool {
	sameRepublish := (have.RePublish == nil) == (want.RePublish == nil) &&
		(have.RePublish == nil || *have.RePublish == *want.RePublish)
	sameSubjects := len(have.Subjects) == 1 && have.Subjects[0] == want.Subjects[0]
	return sameSubjects && sameRepublish &&
		have.Retention == want.Retention && have.Storage == want.Storage &&
		have.Discard == want.Discard && have.DiscardNewPerSubject == want.DiscardNewPerSubject &&
		max(have.MaxMsgsPerSubject, 0) == want.MaxMsgsPerSubject && // unset reads as -1
		(have.AllowDirect || !want.AllowDirect) &&
		!have.AllowRollup && !have.NoAck && !have.Sealed
}

// streamCode maps an error of JetStream's to a code.
func streamCode(err error) capsign.Code {
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return capsign.QueueMismatch
	case errors.Is(err, context.DeadlineExceeded):
		return capsign.BrokerUnreachable
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.Code < 500 {
		return capsign.QueueMismatch
	}
	return capsign.QueueUnavailable
}
