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
