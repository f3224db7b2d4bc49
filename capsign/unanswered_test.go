package capsign_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
)

// TestUnansweredQuestionsAreAskedAgain reads a bucket from a broker like a
// cluster whose leaders are being elected: it leaves the first question
// unanswered, refuses the second and leaves the first watch without a word.
func TestUnansweredQuestionsAreAskedAgain(t *testing.T) {
	t.Parallel()
	nc := connectToLeaderless(t)
	pools, err := capsign.FetchPools(t.Context(), nc)
	if err != nil || len(pools) != 0 {
		t.Errorf("%v, %v", pools, err)
	}
	client, err := capsign.NewClient(t.Context(), nc, capsign.ClientConfig{})
	if client != nil || capsign.CodeOf(err) != capsign.PoolUnknown {
		t.Errorf("a client of no pool: %v, %v", client, err)
	}
}

// connectToLeaderless returns a connection to a server without JetStream, where
// a responder plays a leaderless stream's part.
func connectToLeaderless(t *testing.T) *nats.Conn {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	var infos, watches atomic.Int64
	_, err = nc.Subscribe("$JS.API.>", func(msg *nats.Msg) {
		switch {
		case strings.HasPrefix(msg.Subject, "$JS.API.STREAM.INFO."):
			switch infos.Add(1) {
			case 1:
			case 2:
				_ = msg.Respond([]byte(`{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}`))
			default:
				_ = msg.Respond([]byte(`{"config":{"name":"KV_CAP_POOLS","subjects":["$KV.CAP_POOLS.>"],"max_msgs_per_subject":1}}`))
			}
		case strings.HasPrefix(msg.Subject, "$JS.API.CONSUMER.CREATE."):
			var asked struct {
				Config json.RawMessage `json:"config"`
			}
			_ = json.Unmarshal(msg.Data, &asked)
			pending := max(2-watches.Add(1), 0) // of which nothing ever comes
			_ = msg.Respond(fmt.Appendf(nil, `{"stream_name":"KV_CAP_POOLS","name":"w","config":%s,"num_pending":%d}`, asked.Config, pending))
		default: // a watch is ended
			_ = msg.Respond([]byte(`{"success":true}`))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return nc
}
