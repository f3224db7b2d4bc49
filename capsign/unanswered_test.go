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
	nc := connectToServer(t)
	var infos, watches atomic.Int64
	mustSubscribe(t, nc, "$JS.API.>", func(msg *nats.Msg) {
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
			respondWithConsumer(msg, max(2-watches.Add(1), 0)) // of which nothing ever comes
		default: // a watch is ended
			_ = msg.Respond([]byte(`{"success":true}`))
		}
	})
	return nc
}

// respondWithConsumer says that a consumer was made, and how much waits for it.
func respondWithConsumer(msg *nats.Msg, pending int64) {
	var asked struct {
		Config json.RawMessage `json:"config"`
	}
	_ = json.Unmarshal(msg.Data, &asked)
	_ = msg.Respond(fmt.Appendf(nil, `{"stream_name":"KV_CAP_POOLS","name":"w","config":%s,"num_pending":%d}`, asked.Config, pending))
}

// connectToServer returns a connection to a server without JetStream.
func connectToServer(t *testing.T) *nats.Conn {
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
	return nc
}

// mustSubscribe has messages on subject handled.
func mustSubscribe(t *testing.T, nc *nats.Conn, subject string, handle nats.MsgHandler) {
	t.Helper()
	if _, err := nc.Subscribe(subject, handle); err != nil {
		t.Fatal(err)
	}
}

// TestAListThatWasOvertakenIsMadeAgain reads a bucket in which somebody writes
// while it is listed for the first time.
func TestAListThatWasOvertakenIsMadeAgain(t *testing.T) {
	t.Parallel()
	nc := connectToServer(t)
	var infos, lists atomic.Int64
	mustSubscribe(t, nc, "$JS.API.>", func(msg *nats.Msg) {
		switch {
		case strings.HasPrefix(msg.Subject, "$JS.API.STREAM.INFO."):
			last := 1
			if infos.Add(1) > 2 { // one to find the bucket, one before the list
				last = 2
			}
			_ = msg.Respond(fmt.Appendf(nil, `{"config":{"name":"KV_CAP_POOLS","subjects":["$KV.CAP_POOLS.>"],"max_msgs_per_subject":1},"state":{"last_seq":%d}}`, last))
		case strings.HasPrefix(msg.Subject, "$JS.API.CONSUMER.CREATE."):
			lists.Add(1)
			respondWithConsumer(msg, 0)
		default:
			_ = msg.Respond([]byte(`{"success":true}`))
		}
	})
	if _, err := capsign.FetchPools(t.Context(), nc); err != nil || lists.Load() != 2 {
		t.Errorf("listed %d times: %v", lists.Load(), err)
	}
}
