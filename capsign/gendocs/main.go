// Gendocs writes docs/codes.md from the table of codes. Run it with
//
//	go generate ./capsign
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/capsign/cap/capsign"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gendocs FILE")
		os.Exit(2)
	}
	if err := os.WriteFile(os.Args[1], []byte(codesPage()), 0o644); err != nil { //nolint:gosec // a page for everybody
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}

// intro is what docs/codes.md says before the table.
const intro = `# Codes

<!-- Generated from capsign/code.go by "go generate ./capsign". Do not edit. -->

Every failure in cap is one code out of this closed set. It is what a result on the wire carries, what an error of
package ` + "`capsign`" + ` wraps, and what decides the exit status of ` + "`cap` and `worker`" + `. *Retry* says whether the
same request, with the same id, can succeed without anything else changing. *Message* says what the worker does with
the queued message of a request that it refuses: *answered* stores the code as the request's one result, *redelivered*
brings the message back after a growing delay until it expires or its tries run out, *held* does that and has the
worker take no requests until its provider has signed a message of its own, *latched* has the whole pool stand still, over restarts too,
until an operator says ` + "`cap pool resume`" + `, and *none* means that the code never meets a queued message.

`

// exitMeanings explains the exit statuses that codes have.
var exitMeanings = map[int]string{
	0:  "ok",
	1:  "verification, or a budget, says no",
	2:  "usage or bad input",
	3:  "denied",
	4:  "not found",
	5:  "the provider needs an operator",
	6:  "temporary, too late or too little to tell: safe to send again",
	7:  "outcome unknown: ask again with the same id",
	8:  "configuration",
	9:  "broker unreachable",
	10: "integrity alarm",
	70: "a bug",
}

// codesPage returns the content of docs/codes.md.
func codesPage() string {
	var page strings.Builder
	page.WriteString(intro)
	page.WriteString("| code | exit | retry | message | sentence |\n|---|---|---|---|---|\n")
	for _, code := range capsign.Codes() {
		retry := "no"
		if code.Retryable() {
			retry = "yes"
		}
		fmt.Fprintf(&page, "| `%s` | %d | %s | %s | %s |\n", code, code.ExitStatus(), retry, code.Fate(), code.Sentence())
	}
	page.WriteString("\n## Exit statuses\n\n| exit | meaning |\n|---|---|\n")
	for status := range 71 {
		if meaning, ok := exitMeanings[status]; ok {
			fmt.Fprintf(&page, "| %d | %s |\n", status, meaning)
		}
	}
	return page.String()
}
