// Command matrix prints which provider was held to the contract with which
// algorithm, from the rows that the tests have left in a file.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/providers/providertest"
)

// algs are the matrix's columns.
var algs = []capsign.Alg{capsign.Ed25519, capsign.ES256, capsign.ES384, capsign.PS256, capsign.RS256}

// backends are the rows, with the algorithms that the suite runs there; of the
// others some are not offered by the backend, which [notOffered] lists.
var backends = []string{
	"software", "SoftHSM2", "NSS softokn", "p11-kit", "tpm2-pkcs11", "gcp", "aws", "azure",
	"gcp, real", "aws, real", "azure, real",
}

// notOffered says which algorithms a backend does not have.
var notOffered = map[string][]capsign.Alg{
	"software":    {capsign.ES384, capsign.PS256, capsign.RS256},
	"NSS softokn": {capsign.Ed25519},
	"p11-kit":     {capsign.Ed25519},                // version 0.24 does not pass it on
	"tpm2-pkcs11": {capsign.Ed25519, capsign.PS256}, // version 1.9 pads no digest that it did not make
	"azure":       {capsign.Ed25519},
	"azure, real": {capsign.Ed25519},
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: matrix FILE")
		os.Exit(2)
	}
	rows, err := read(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1)
	}
	write(os.Stdout, rows)
}

// read returns the rows in the file at path.
func read(path string) ([]providertest.Row, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	defer file.Close()
	var rows []providertest.Row
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var row providertest.Row
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return nil, fmt.Errorf("read rows: %w", err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// write prints the matrix and, below it, why backends were skipped.
func write(w io.Writer, rows []providertest.Row) {
	fmt.Fprintf(w, "\n%-14s", "backend")
	for _, alg := range algs {
		fmt.Fprintf(w, " %-12s", alg)
	}
	fmt.Fprintln(w)
	var reasons []string
	for _, backend := range backends {
		fmt.Fprintf(w, "%-14s", backend)
		for _, alg := range algs {
			result, reason := find(rows, backend, alg)
			fmt.Fprintf(w, " %-12s", result)
			if reason != "" && !slices.Contains(reasons, backend+": "+reason) {
				reasons = append(reasons, backend+": "+reason)
			}
		}
		fmt.Fprintln(w)
	}
	for _, reason := range reasons {
		fmt.Fprintln(w, " ", reason)
	}
}

// find returns the result of a backend with an algorithm, the worst of several.
func find(rows []providertest.Row, backend string, alg capsign.Alg) (result providertest.Result, reason string) {
	if slices.Contains(notOffered[backend], alg) {
		result = providertest.NotOffered
	}
	for _, row := range rows {
		switch {
		case row.Backend != backend, row.Alg != "" && row.Alg != alg:
		case row.Result == providertest.Fail:
			return providertest.Fail, ""
		case row.Result == providertest.Skipped && result == "":
			result, reason = providertest.Skipped, row.Reason
		case row.Result == providertest.Pass:
			result = providertest.Pass
		}
	}
	if result == "" {
		return "not run", ""
	}
	return result, reason
}
