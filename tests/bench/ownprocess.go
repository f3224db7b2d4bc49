package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// ownProcessSite is server and worker in a process of their own, as they are
// in production: a second copy of this program.
func ownProcessSite(ctx context.Context, p *pass, sync durability) (*site, error) {
	return spawn(ctx, p, sync)
}

// spawn starts the serving half under wrapper, a command and its arguments, if
// there is one.
func spawn(ctx context.Context, p *pass, sync durability, wrapper ...string) (*site, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv := slices.Concat(wrapper, []string{self, "serve", p.dir, string(sync)})
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(p.procs))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop := func() error { return errors.Join(stdin.Close(), cmd.Wait()) }
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("serving process: %w", err), stop())
	}
	return connect(strings.TrimSpace(url), cmd.Process.Pid, stop)
}

// serve is that second copy: it prints the server's URL and serves until stdin
// ends.
func serve(ctx context.Context, dir string, sync durability, stdin io.Reader, stdout io.Writer) error {
	url, stop, err := startPool(ctx, dir, sync)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(stdout, url); err != nil {
		return errors.Join(err, stop())
	}
	_, err = io.Copy(io.Discard, stdin)
	return errors.Join(err, stop())
}
