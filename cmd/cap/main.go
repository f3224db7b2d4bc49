// Command cap signs files through the queue of a cap pool, and verifies the
// signatures. It holds no key and links no device or cloud SDK.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/capsign/cap/cmd/cap/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(cli.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
