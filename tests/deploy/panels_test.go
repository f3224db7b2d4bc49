package deploy

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

// quiet are the panels that show something only once something is refused,
// broken or queued, or once publishers export metrics of their own.
var quiet = []string{
	"panel Refusals by code", "panel Provider failures by code", "panel Publication to result, p95", "panel Requests sent",
}

// TestEveryPanelShowsSomething asks a Prometheus that watches a running
// installation under load for what every panel shows. It is for whoever changes
// the dashboard: docs/compose.md says how to run it.
func TestEveryPanelShowsSomething(t *testing.T) {
	prometheus := os.Getenv("CAP_PROMETHEUS")
	if prometheus == "" {
		t.Skip("CAP_PROMETHEUS does not name a Prometheus that watches an installation")
	}
	for _, q := range dashboardQueries(t) {
		n, err := ask(prometheus, q.expr)
		if err != nil {
			t.Errorf("%s: %v", q.where, err)
		}
		t.Logf("%4d series  %s", n, q.where)
		if n == 0 && !slices.Contains(quiet, q.where) {
			t.Errorf("%s shows nothing: %s", q.where, q.expr)
		}
	}
	for _, q := range ruleQueries(t) {
		if n, err := ask(prometheus, q.expr); err != nil {
			t.Errorf("%s: %v", q.where, err)
		} else if n == 0 && strings.HasPrefix(q.where, "rule cap:") {
			t.Errorf("%s records nothing", q.where)
		}
	}
}

// ask returns how many series a query gives.
func ask(prometheus, expr string) (int, error) {
	answer, err := http.Get(prometheus + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err
	}
	var result struct {
		Status, Error string
		Data          struct{ Result []any }
	}
	if err := json.Unmarshal(text, &result); err != nil {
		return 0, err
	}
	if result.Status != "success" {
		return 0, errors.New(result.Error)
	}
	return len(result.Data.Result), nil
}
