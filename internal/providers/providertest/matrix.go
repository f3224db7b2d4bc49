package providertest

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/capsign/cap/capsign"
)

// MatrixFile is the environment variable that names the file to which each run
// of the suite appends a [Row]; without it none is kept.
const MatrixFile = "CAP_TEST_MATRIX"

// Result is what became of a backend with an algorithm.
type Result string

// The results.
const (
	Pass       Result = "pass"
	Fail       Result = "FAIL"
	NotOffered Result = "not offered"
	Skipped    Result = "skipped"
)

// Row is one field of the matrix of backends and algorithms, a line of JSON.
type Row struct {
	Backend string      `json:"backend"`
	Alg     capsign.Alg `json:"alg"`
	Result  Result      `json:"result"`
	Reason  string      `json:"reason,omitempty"`
}

// Record adds a row to the matrix.
func Record(t testing.TB, row Row) {
	t.Helper()
	path := os.Getenv(MatrixFile)
	if path == "" {
		return
	}
	line, err := json.Marshal(row)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Write(append(line, '\n')); err != nil { // one write: other packages' tests append too
		t.Fatal(err)
	}
}

// Skip records why a backend is not tested here and skips the test.
func Skip(t *testing.T, backend, reason string) {
	t.Helper()
	Record(t, Row{Backend: backend, Result: Skipped, Reason: reason})
	t.Skip(reason)
}

// recordAtEnd adds the suite's row when the test has ended.
func (cfg Config) recordAtEnd(t *testing.T) {
	t.Cleanup(func() {
		row := Row{Backend: cfg.Backend, Alg: cfg.Alg, Result: Pass}
		if t.Failed() {
			row.Result = Fail
		}
		Record(t, row)
	})
}
