package queue

import (
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/internal/broker/embedded"
)

func TestPullerTakesNothingButAConsumersMessages(t *testing.T) {
	taken := 0
	p := puller{room: 4, take: func(*nats.Msg) { taken++ }}
	for _, reply := range []string{"", "_INBOX.x", "$KV.CAP_KEYS.x", "cap.job.local.default.bulk.k"} {
		p.receive("", &nats.Msg{Subject: "cap.job.local.default.bulk.k", Reply: reply})
	}
	if taken != 0 || p.held != 0 {
		t.Errorf("%d messages taken that nobody can acknowledge", taken)
	}
	p.receive("", &nats.Msg{Reply: "$JS.ACK.CAP_JOBS_default.bulk.1.1.1.1.0"})
	if taken != 1 || p.held != 1 {
		t.Errorf("%d messages of the consumer's taken, want 1", taken)
	}
}

func TestPullerThatHasEndedAsksNoMore(t *testing.T) {
	server, err := embedded.Start(embedded.Options{StoreDir: t.TempDir(), LazySync: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	asks, err := nc.SubscribeSync("next")
	if err != nil {
		t.Fatal(err)
	}
	p := puller{nc: nc, next: "next", room: 4, take: func(*nats.Msg) {}}
	if _, err := p.start(); err != nil {
		t.Fatal(err)
	}
	if _, err := asks.NextMsg(5 * time.Second); err != nil {
		t.Fatalf("it never asked: %v", err)
	}
	p.stop()
	p.reset()
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := asks.Pending(); n != 0 || err != nil {
		t.Errorf("asked %d times after the end, %v", n, err)
	}
}
