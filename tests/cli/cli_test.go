// Package cli_test runs the cap command as its users do: the scripts under
// testdata, against real brokers and workers.
package cli_test

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/capsign/cap/cmd/cap/cli"
)

// TestMain lets the scripts run this binary as cap.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "cap" { // in the test itself, no keyring of the developer's own
		if err := os.Setenv("XDG_STATE_HOME", "/nonexistent"); err != nil {
			panic(err)
		}
	}
	testscript.Main(m, map[string]func(){
		"cap": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
			status := cli.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
			stop()
			os.Exit(status)
		},
	})
}

// TestScripts runs testdata/*.txtar. NATS_URL leads them to the broker of one
// pool, called default; sites_test.go lists the other brokers.
func TestScripts(t *testing.T) {
	env := startSites(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, env...)
			// No context of the developer's own.
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, "config"))
			// A keyring of each script's own.
			e.Setenv("XDG_STATE_HOME", filepath.Join(e.WorkDir, "state"))
			// Race detectors would sleep for a second at each exit.
			e.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   exits,
			"members": members,
			"save":    save,
			"flip":    flip,
			"fill":    fill,
			"fifo":    fifo,
			"site":    site(t),
			"rootkey": rootKey,
			"lighten": lighten,
			"pass":    pass,
			"edit":    edit,
			"traces":  traces,
		},
		RequireUniqueNames: true,
	})
}
