package embedded_test

import (
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/broker/embedded"
)

// options are those of a quiet server in a directory of its own.
func options(t *testing.T, listen string) embedded.Options {
	t.Helper()
	return embedded.Options{Listen: listen, StoreDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
}

func TestServerKeepsItsStreams(t *testing.T) {
	opts := options(t, "127.0.0.1:0")
	for range 2 {
		server, err := embedded.Start(opts)
		if err != nil {
			t.Fatal(err)
		}
		nc, err := nats.Connect(server.URL())
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
		if err != nil {
			t.Fatal(err)
		}
		if stream.CachedInfo().State.Msgs == 0 {
			if _, err := js.Publish(t.Context(), "s", []byte("kept")); err != nil {
				t.Fatal(err)
			}
		} else if msg, err := stream.GetMsg(t.Context(), 1); err != nil || string(msg.Data) != "kept" {
			t.Errorf("after a restart: %v", err)
		}
		nc.Close()
		server.Stop()
	}
}

func TestListensOnLoopbackOnly(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:4222", "example.com:4222", "127.0.0.1", "127.0.0.1:port", "127.0.0.1:70000"} {
		server, err := embedded.Start(options(t, listen))
		if code, _ := errors.AsType[capsign.Code](err); code != capsign.ConfigInvalid {
			t.Errorf("%s: error %v, want %s", listen, err, capsign.ConfigInvalid)
		}
		if server != nil {
			server.Stop()
		}
	}
}

func TestTakenAddressIsSaidAtOnce(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	began := time.Now()
	_, err = embedded.Start(options(t, listener.Addr().String()))
	if code, _ := errors.AsType[capsign.Code](err); code != capsign.ConfigInvalid {
		t.Errorf("error %v, want %s", err, capsign.ConfigInvalid)
	}
	if waited := time.Since(began); waited > 5*time.Second {
		t.Errorf("said after %v", waited)
	}
}

func TestInProcessServerListensNowhere(t *testing.T) {
	server, err := embedded.Start(options(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	if url := server.URL(); strings.Contains(url, ":") {
		t.Errorf("the server listens on %s", url)
	}
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.Flush(); err != nil {
		t.Error(err)
	}
}
