package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
)

// MaxSkew is how far a worker's clock may be from its broker's: keys retire, and
// requests expire, by both.
const MaxSkew = 2 * time.Second

// CheckClock compares this machine's clock with that of the server that leads
// stream. It wraps capsign.ClockSkew where they differ by more than MaxSkew, or
// capsign.BrokerUnreachable.
func CheckClock(ctx context.Context, nc *nats.Conn, stream string) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("broker: check clock: %w", capsign.BrokerUnreachable)
	}
	asked := time.Now()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("broker: check clock: %w", capsign.BrokerUnreachable)
	}
	answered := time.Now()
	return checkClock(asked, s.CachedInfo().TimeStamp, answered)
}

// checkClock says whether a server that was asked at one time and answered by
// another may have said theirs.
func checkClock(asked, theirs, answered time.Time) error {
	if theirs.Before(asked.Add(-MaxSkew)) || theirs.After(answered.Add(MaxSkew)) {
		return fmt.Errorf("broker: %w", capsign.ClockSkew)
	}
	return nil
}
