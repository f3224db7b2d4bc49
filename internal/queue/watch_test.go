package queue_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

// TestPauseIsHeardAfterTheBucketWasLost deletes the pools' records under a
// running worker, which ends its watch, and makes them anew.
func TestPauseIsHeardAfterTheBucketWasLost(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.startWorker(t)
		if err := p.js.DeleteKeyValue(t.Context(), capsign.PoolsBucket); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute) // in which the client library finds its consumer gone
		if _, err := p.js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: capsign.PoolsBucket}); err != nil {
			t.Fatal(err)
		}
		if _, err := capsign.UpdatePool(t.Context(), p.nc, "default", func(pool *capsign.Pool) bool {
			*pool = capsign.Pool{
				V: capsign.Version, Name: "default", Provider: capsign.ProviderSoftware,
				State: capsign.PoolPaused, Code: capsign.PausedByOperator,
			}
			return true
		}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the worker is paused", func() bool {
			workers, err := capsign.FetchWorkers(t.Context(), p.nc, "default")
			return err == nil && len(workers) == 1 && workers[0].State == capsign.PoolPaused
		})
	})
}
