package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// startRuns is how often programs are started within a round of a row.
const startRuns = 20

// startUp measures how long a program takes to start, print its version and
// exit, in turns with one that does nothing, and how big it is.
func startUp(what program) func(context.Context, *pass) (figures, error) {
	return func(ctx context.Context, p *pass) (figures, error) {
		path, err := p.programs.path(what)
		if err != nil {
			return nil, err
		}
		nothing, err := p.programs.path(empty)
		if err != nil {
			return nil, err
		}
		var took, least []float64
		for range startRuns {
			ours, err := timeRun(ctx, path)
			if err != nil {
				return nil, err
			}
			others, err := timeRun(ctx, nothing)
			if err != nil {
				return nil, err
			}
			took, least = append(took, ours), append(least, others)
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		initialising, err := initTimes(ctx, path)
		return figures{
			exit: median(took), exitEmpty: median(least), inits: initialising,
			binarySize: float64(info.Size()) / 1e6,
		}, err
	}
}

// timeRun returns the milliseconds from a program's start to its exit.
func timeRun(ctx context.Context, path string) (float64, error) {
	cmd := exec.CommandContext(ctx, path, "--version")
	began := time.Now()
	err := cmd.Run()
	return time.Since(began).Seconds() * 1000, err
}

// initLine is what GODEBUG=inittrace=1 prints of a package.
var initLine = regexp.MustCompile(`(?m)^init \S+ @\S+ ms, (\S+) ms clock`)

// initTimes returns the median over some runs of the milliseconds that all of a
// program's packages together need for their initialisation.
func initTimes(ctx context.Context, path string) (float64, error) {
	var sums []float64
	for range startRuns / 4 {
		cmd := exec.CommandContext(ctx, path, "--version")
		cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
		var trace bytes.Buffer
		cmd.Stderr = &trace
		if err := cmd.Run(); err != nil {
			return 0, err
		}
		sum := 0.0
		for _, found := range initLine.FindAllSubmatch(trace.Bytes(), -1) {
			ms, err := strconv.ParseFloat(string(found[1]), 64)
			if err != nil {
				return 0, fmt.Errorf("inittrace: %w", err)
			}
			sum += ms
		}
		sums = append(sums, sum)
	}
	return median(sums), nil
}
