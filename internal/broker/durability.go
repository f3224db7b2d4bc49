package broker

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"
)

// askTimeout bounds the question about the broker's durability.
const askTimeout = time.Second

// SyncAlways asks the broker whether it syncs each message to disk before it
// acknowledges it. The answer is known only to connections that may use the
// system account.
func SyncAlways(ctx context.Context, nc *nats.Conn) (always, known bool) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	msg, err := nc.RequestWithContext(ctx, "$SYS.REQ.SERVER.PING.VARZ", nil)
	if err != nil {
		return false, false
	}
	var answer struct {
		Data struct {
			JetStream struct {
				Config *struct {
					SyncAlways bool `json:"sync_always"`
				} `json:"config"`
			} `json:"jetstream"`
		} `json:"data"`
	}
	if json.Unmarshal(msg.Data, &answer) != nil || answer.Data.JetStream.Config == nil {
		return false, false
	}
	return answer.Data.JetStream.Config.SyncAlways, true
}
