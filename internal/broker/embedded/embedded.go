// Package embedded runs the NATS JetStream server that a worker brings along.
package embedded

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
)

// Options say where the server listens and keeps its state.
type Options struct {
	// Listen is the address and port to listen on; port 0 means a free one.
	// Empty means that the server is reached in process only.
	Listen string
	// StoreDir is where JetStream keeps its files.
	StoreDir string
	// LazySync acknowledges messages before they are on disk, which a power cut
	// then takes back. The zero value never does.
	LazySync bool
	// Log receives the server's warnings and errors; nil means slog.Default().
	Log *slog.Logger
}

// Server is a running server.
type Server struct {
	server *server.Server
}

// readyTimeout bounds the server's start, which replays its state.
const readyTimeout = 30 * time.Second

// Start runs a server. The address must be a loopback one: the server asks
// nobody for credentials. Errors wrap capsign.ConfigInvalid, or
// capsign.QueueUnavailable where the server does not come up.
func Start(opts Options) (*Server, error) {
	config := &server.Options{
		ServerName: "cap-embedded",
		JetStream:  true,
		StoreDir:   opts.StoreDir,
		SyncAlways: !opts.LazySync,
		NoSigs:     true,
		DontListen: opts.Listen == "",
	}
	if opts.Listen != "" {
		host, port, err := loopback(opts.Listen)
		if err != nil {
			return nil, err
		}
		config.Host, config.Port = host, port
	}
	s, err := server.NewServer(config)
	if err != nil {
		return nil, fmt.Errorf("embedded: start: %w", capsign.ConfigInvalid)
	}
	log := opts.Log
	if log == nil {
		log = slog.Default()
	}
	fatal := make(chan struct{}, 1)
	s.SetLoggerV2(serverLog{log, fatal}, false, false, false)
	s.Start()
	if err := await(s, fatal); err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, err
	}
	return &Server{server: s}, nil
}

// await returns when the server takes connections, or has said why it cannot.
func await(s *server.Server, fatal <-chan struct{}) error {
	for deadline := time.Now().Add(readyTimeout); time.Now().Before(deadline); {
		if s.ReadyForConnections(50 * time.Millisecond) {
			if !s.JetStreamEnabled() {
				break
			}
			return nil
		}
		select {
		case <-fatal:
			return fmt.Errorf("embedded: the address is taken or the files cannot be used: %w", capsign.ConfigInvalid)
		default:
		}
	}
	return fmt.Errorf("embedded: start: %w", capsign.QueueUnavailable)
}

// loopback splits a listening address and refuses one that other machines
// could reach.
func loopback(listen string) (host string, port int, err error) {
	host, portText, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("embedded: listening address: %w", capsign.ConfigInvalid)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", 0, fmt.Errorf("embedded: listening address is not a loopback one: %w", capsign.ConfigInvalid)
	}
	number, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("embedded: listening port: %w", capsign.ConfigInvalid)
	}
	if number == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(number), nil
}

// URL returns where clients reach the server, or "" if it does not listen.
func (s *Server) URL() string {
	if s.server.Addr() == nil {
		return ""
	}
	return s.server.ClientURL()
}

// Connect returns a connection that stays inside the process.
func (s *Server) Connect(opts ...nats.Option) (*nats.Conn, error) {
	opts = append(opts, nats.InProcessServer(s.server), nats.MaxReconnects(-1))
	nc, err := nats.Connect("", opts...)
	if err != nil {
		return nil, fmt.Errorf("embedded: connect: %w", capsign.BrokerUnreachable)
	}
	return nc, nil
}

// Stop ends the server and returns when its state is on disk.
func (s *Server) Stop() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}

// serverLog hands the server's log to slog: its notices as debug, the rest as
// what it is. The server's lines have no context.
type serverLog struct {
	log   *slog.Logger
	fatal chan<- struct{} // holds one
}

var _ server.Logger = serverLog{}

// line logs one line of the server's.
func (l serverLog) line(level slog.Level, format string, v []any) {
	l.log.Log(context.Background(), level, "nats server", "detail", fmt.Sprintf(format, v...))
}

// Noticef takes a line about the server's ordinary life.
func (l serverLog) Noticef(format string, v ...any) {
	l.line(slog.LevelDebug, format, v)
}

// Warnf takes a warning.
func (l serverLog) Warnf(format string, v ...any) {
	l.line(slog.LevelWarn, format, v)
}

// Errorf takes an error.
func (l serverLog) Errorf(format string, v ...any) {
	l.line(slog.LevelError, format, v)
}

// Fatalf takes what the server would exit for.
func (l serverLog) Fatalf(format string, v ...any) {
	l.line(slog.LevelError, format, v)
	select {
	case l.fatal <- struct{}{}:
	default:
	}
}

// Debugf is not used: debugging is off.
func (l serverLog) Debugf(string, ...any) {}

// Tracef is not used: tracing is off.
func (l serverLog) Tracef(string, ...any) {}
