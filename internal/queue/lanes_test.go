package queue_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
)

// slowlyBulk has every artifact take a while, and nothing else.
func slowlyBulk(_ context.Context, _ int64, msg []byte) error {
	if bytes.HasPrefix(msg, []byte("artifact")) {
		time.Sleep(time.Millisecond)
	}
	return nil
}

func TestOneOffsAreAnsweredBeforeTheBulkEnds(t *testing.T) {
	inFakeTime(t, func(t *testing.T) {
		p := newServer(t)
		p.signer.before = slowlyBulk
		p.startWorker(t)
		const queued = 5000
		run, err := p.client(t, capsign.ClientConfig{Pack: 16, Window: 64}).NewRun(capsign.NewClientID(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer run.Close()
		for _, err := range run.Leave(t.Context(), "", newArtifacts(queued).from(0)) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if run.Err() != nil {
			t.Fatal(run.Err())
		}
		client := p.client(t, capsign.ClientConfig{})
		for i := range 50 {
			if _, err := client.Sign(t.Context(), fmt.Appendf(nil, "one-off %d", i)); err != nil {
				t.Fatal(err)
			}
			if p.waiting(t) == 0 {
				t.Fatalf("the bulk was done before one-off %d", i)
			}
		}
		left, err := capsign.FetchRun(t.Context(), p.nc, "", run.ID())
		if err != nil {
			t.Fatal(err)
		}
		signed := 0
		for outcome, err := range left.Outcomes(t.Context()) {
			if err != nil || p.signer.key.Verify(fmt.Appendf(nil, "artifact %s", outcome.Ref), outcome.Bytes) != nil {
				t.Fatalf("artifact %s: %v", outcome.Ref, err)
			}
			signed++
		}
		if signed != queued || left.Err() != nil {
			t.Errorf("%d of %d signed: %v", signed, queued, left.Err())
		}
	})
}
