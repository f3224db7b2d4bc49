package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/cmd/cap/cli"
)

// TestTopPrintsALineForEachLook reads two of them and interrupts it.
func TestTopPrintsALineForEachLook(t *testing.T) {
	server := startBroker(t)
	startWorker(t, server, "default", newKeys(t, "cap-signing", capsign.Ed25519, 1))
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	lines := &untilLines{n: 2, then: interrupt}
	status := cli.Run(ctx, []string{"top", "--json", "--interval", "500ms", "--nats", server.URL()}, nil, lines, &bytes.Buffer{})
	if status != 0 {
		t.Errorf("status %d, want 0: it has no end of its own", status)
	}
	n := 0
	for line := range bytes.Lines(lines.Bytes()) {
		var sight struct{ Pools []struct{ Pool string } }
		if err := json.Unmarshal(line, &sight); err != nil || len(sight.Pools) != 1 || sight.Pools[0].Pool != "default" {
			t.Errorf("%s: %v", line, err)
		}
		n++
	}
	if n != 2 {
		t.Errorf("%d lines, want 2", n)
	}
}

// untilLines calls then once it has so many lines.
type untilLines struct {
	bytes.Buffer
	n    int
	then func()
}

// Write takes more.
func (u *untilLines) Write(p []byte) (int, error) {
	n, err := u.Buffer.Write(p)
	if bytes.Count(u.Bytes(), []byte("\n")) >= u.n {
		u.then()
	}
	return n, err
}
