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

// coldStart measures the time from starting the worker in an empty directory
// to the first signature that a client has verified: the server and its
// streams, the key, the client's connection and lookups are all in it.
func coldStart(ctx context.Context, p *pass) (_ figures, err error) {
	worker, err := buildWorker(ctx, p.dir)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(p.dir, "data")
	cmd := exec.CommandContext(ctx, worker, "--listen", "127.0.0.1:0", "--data", data) //nolint:gosec // just built
	cmd.Stderr = os.Stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cmd.Process.Signal(os.Interrupt), cmd.Wait()) }()
	for {
		err := signAtOnce(ctx, data, p.messages[0])
		if err == nil {
			return figures{start: time.Since(began).Seconds() * 1000}, nil
		}
		if time.Since(began) > 10*time.Second {
			return nil, fmt.Errorf("worker is not up after 10 s: %w", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// buildWorker builds the worker's binary into dir.
func buildWorker(ctx context.Context, dir string) (string, error) {
	worker := filepath.Join(dir, "worker")
	build := exec.CommandContext(ctx, "go", "build", "-o", worker, "github.com/capsign/cap/cmd/worker")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("%w: cmd/worker does not build", errSkip)
	}
	return worker, nil
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
