package broker

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/broker/embedded"
)

func TestClocksMayDifferByTwoSeconds(t *testing.T) {
	asked := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	answered := asked.Add(time.Second)
	for offset, ok := range map[time.Duration]bool{
		0: true, -2 * time.Second: true, 3 * time.Second: true,
		-2*time.Second - 1: false, 3*time.Second + 1: false, -time.Hour: false, time.Hour: false,
	} {
		if err := checkClock(asked, asked.Add(offset), answered); (err == nil) != ok || err != nil && !errors.Is(err, capsign.ClockSkew) {
			t.Errorf("a server %v ahead: %v", offset, err)
		}
	}
}

func TestClockOfARealServer(t *testing.T) {
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
	if err := CheckClock(t.Context(), nc, "KV_CAP_TOKENS"); !errors.Is(err, capsign.BrokerUnreachable) {
		t.Errorf("without the stream: %v", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if err := CheckClock(t.Context(), nc, "S"); err != nil {
		t.Error(err)
	}
}
