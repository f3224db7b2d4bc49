package queue_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/queue"
)

func TestWorkerAnswersToNATSMicro(t *testing.T) {
	p := newPool(t)
	if _, err := p.client(t, capsign.ClientConfig{}).Sign(t.Context(), []byte("hello")); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"PING", "INFO", "STATS"} {
		var answer micro.ServiceIdentity
		p.ask(t, "$SRV."+verb+"."+queue.ServiceName, &answer)
		if answer.Name != queue.ServiceName || answer.Metadata["pool"] != "default" || answer.Metadata["provider"] != capsign.ProviderSoftware {
			t.Errorf("%s: %+v", verb, answer)
		}
	}
	eventually(t, "the request is counted", func() bool {
		var tally queue.Tally
		p.ask(t, "cap.worker.default.tally", &tally)
		return tally == queue.Tally{Answered: 1}
	})
}

// ask sends an empty request and decodes the answer.
func (p *pool) ask(t *testing.T, subject string, answer any) {
	t.Helper()
	msg, err := p.nc.Request(subject, nil, 5*time.Second)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	if err := json.Unmarshal(msg.Data, answer); err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
}

func TestWorkerTellsOfItsWork(t *testing.T) {
	p := newPool(t)
	client := p.client(t, capsign.ClientConfig{})
	if _, err := client.Sign(t.Context(), []byte("hello")); err != nil {
		t.Fatal(err)
	}
	expired := p.newRequest()
	expired.Expires = time.Now().Add(-time.Second).UTC()
	p.publish(t, p.subject(capsign.Bulk), encode(t, expired))
	p.result(t, expired.ID)
	eventually(t, "both requests are counted, each on its lane", func() bool {
		workers, err := capsign.FetchStats(t.Context(), p.nc, "default")
		if err != nil || len(workers) != 1 {
			return false
		}
		express, bulk := workers[0].Lanes[capsign.Express], workers[0].Lanes[capsign.Bulk]
		return express.Answered == 1 && len(express.Refused) == 0 && express.Process.Count() == 1 &&
			bulk.Answered == 0 && bulk.Refused[capsign.RequestExpired] == 1 && bulk.Process.Count() == 1 &&
			len(bulk.PerSecond) == capsign.StatsWindow &&
			workers[0].Sign.Count() == 1 && workers[0].Class == capsign.ClassSoftware && workers[0].State == capsign.PoolReady
	})
}

func TestWorkersStatsGoToInboxesOnly(t *testing.T) {
	p := newPool(t)
	elsewhere, err := p.nc.SubscribeSync("cap.store.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.nc.PublishRequest(capsign.StatsSubject("default"), "cap.store.local.forged", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := capsign.FetchStats(t.Context(), p.nc, "default"); err != nil { // later, and answered
		t.Fatal(err)
	}
	if msg, err := elsewhere.NextMsg(10 * time.Millisecond); err == nil {
		t.Errorf("the worker published on %s", msg.Subject)
	}
}
