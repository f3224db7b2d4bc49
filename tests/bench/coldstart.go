package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/broker"
)

// lazyConfig is the worker's configuration where durability is lazy.
const lazyConfig = "key: {provider: software}\nnats: {allow_lazy_sync: true}\n"

// coldStart measures the time from starting the worker in an empty directory
// to the first signature that a client has verified: the server and its
// streams, the key, the client's connection and lookups are all in it.
func coldStart(sync durability) func(context.Context, *pass) (figures, error) {
	return func(ctx context.Context, p *pass) (_ figures, err error) {
		worker, err := p.programs.path(worker)
		if err != nil {
			return nil, err
		}
		data := filepath.Join(p.dir, "data")
		args := []string{"--listen", "127.0.0.1:0", "--data", data}
		if sync == lazy {
			file := filepath.Join(p.dir, "key.yaml")
			if err := os.WriteFile(file, []byte(lazyConfig), 0o600); err != nil {
				return nil, err
			}
			args = append(args, "--config", file)
		}
		cmd := exec.CommandContext(ctx, worker, args...)
		began := time.Now()
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, cmd.Process.Signal(os.Interrupt), cmd.Wait()) }()
		if err := untilSigned(ctx, data, p.messages[0]); err != nil {
			return nil, err
		}
		return figures{start: time.Since(began).Seconds() * 1000}, nil
	}
}

// untilSigned tries every millisecond to find the worker and have it sign.
func untilSigned(ctx context.Context, data string, msg []byte) error {
	began := time.Now()
	for {
		err := signAtOnce(ctx, data, msg)
		if err == nil {
			return nil
		}
		if time.Since(began) > 10*time.Second {
			return fmt.Errorf("the worker is not up after 10 s: %w", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// signAtOnce makes one attempt to find the worker and have it sign.
func signAtOnce(ctx context.Context, data string, msg []byte) error {
	url, err := broker.ReadLocal(data)
	if err != nil {
		return err
	}
	if url == "" {
		return errors.New("no client.json yet")
	}
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	client, err := capsign.NewClient(ctx, nc, capsign.ClientConfig{})
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Sign(ctx, msg)
	return err
}
