package deploy

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/capsign/cap/internal/porttest"
)

// onlyWhenBroken is what a worker exports only once something is wrong, with
// the labels that it then has, and what only publishers export.
var onlyWhenBroken = map[string][]string{
	"cap_integrity_alarms_total":                         {"cap_pool", "cap_provider", "cap_alg"},
	"cap_provider_fallback":                              {"cap_pool", "cap_provider"},
	"messaging_client_operation_duration_seconds_bucket": {"cap_pool", "cap_lane", "error_type", "le"},
	"messaging_client_sent_messages_total":               {"cap_pool", "cap_lane", "error_type"},
	"cap_provider_sign_duration_seconds_count":           {"error_type"},
}

// exports returns what this installation exports: a real worker under a little
// load, refusals included; the exporter of NATS, from a recording; what only
// appears when something is broken; Prometheus's own series; and what the rules
// record.
func exports(t *testing.T) exported {
	t.Helper()
	e := make(exported)
	port := porttest.Free(t)
	dir := t.TempDir()
	worker := start(t, dir, []string{
		"OTEL_METRICS_EXPORTER=prometheus", "OTEL_EXPORTER_PROMETHEUS_HOST=127.0.0.1", fmt.Sprintf("OTEL_EXPORTER_PROMETHEUS_PORT=%d", port),
	}, "worker", "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data"))
	write(t, filepath.Join(dir, "message"), "hello")
	eventually(t, func() error {
		out, err := tryCommand(t, dir, command(t, "cap"), "keys", "sign", "--in", "message", "--out", "signature")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	refuse(t, worker)
	runCommand(t, dir, command(t, "cap"), "pool", "pause", "default")
	eventually(t, func() error {
		if err := e.scrape(loopback("http", port) + "/metrics"); err != nil {
			return err
		}
		for _, metric := range []string{"messaging_client_consumed_messages_total", "cap_worker_ready_ratio"} {
			if !slices.Contains(e[metric], "error_type") {
				return errors.New("no refusal yet in " + metric)
			}
		}
		return nil
	})
	recording := read(t, filepath.Join("testdata", "nats-exporter.txt"))
	if err := e.parse(strings.NewReader(recording)); err != nil {
		t.Fatal(err)
	}
	for metric, names := range onlyWhenBroken {
		e.add(metric, names...)
	}
	e.add("up")
	e.add("ALERTS", "alertname", "alertstate", "severity")
	for _, group := range loadRules(t).Groups {
		for _, rule := range group.Rules {
			if rule.Record != "" {
				e.add(rule.Record, "budget", "cap_pool", "cap_class")
			}
		}
	}
	return e
}

// refuse has a worker refuse a request, by sending it one that is none.
func refuse(t *testing.T, worker *process) {
	t.Helper()
	_, url, found := strings.Cut(worker.said.String(), "listening on ")
	url, _, _ = strings.Cut(url, "\n")
	nc, err := nats.Connect(url)
	if err != nil || !found {
		t.Fatalf("connect to %q: %v", url, err)
	}
	defer nc.Close()
	if _, err := nc.Request("cap.job.local.default.express.cap-signing", []byte("{}"), 10*time.Second); err != nil {
		t.Fatal(err)
	}
}

func TestDashboardAndAlertsAskForWhatIsExported(t *testing.T) {
	e := exports(t)
	queries := slices.Concat(dashboardQueries(t), ruleQueries(t))
	if len(queries) < 50 {
		t.Errorf("only %d queries", len(queries))
	}
	for _, q := range queries {
		for _, problem := range e.check(q) {
			t.Errorf("%s: %s\n%s", q.where, problem, q.expr)
		}
	}
	for _, p := range loadDashboard(t).Panels {
		for _, target := range p.Targets {
			q := query{"panel " + p.Title, grafanaVariables.Replace(target.Expr)}
			for _, problem := range e.checkShown(q, target.LegendFormat, nil) {
				t.Errorf("%s: %s", q.where, problem)
			}
		}
	}
	for _, group := range loadRules(t).Groups {
		for _, rule := range group.Rules {
			q := query{"alert " + rule.Alert, rule.Expr}
			for name, text := range rule.Annotations {
				for _, problem := range e.checkShown(q, text, rule.Labels) {
					t.Errorf("%s, %s: %s", q.where, name, problem)
				}
			}
		}
	}
	for _, broken := range []string{
		"cap_queue_waiting{cap_lane=", "cap_queue_waitin", `cap_queue_waiting{lane="bulk"}`, `sum by (tenant) (cap_queue_waiting)`,
		`cap_provider_sign_duration_seconds_bucket{le="0.06"}`,
	} {
		if e.check(query{"", broken}) == nil {
			t.Errorf("%s passes", broken)
		}
	}
}

func TestEveryPanelSaysWhatItShows(t *testing.T) {
	d := loadDashboard(t)
	taken := make(map[[2]int]string)
	ids := make(map[int]bool)
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("%q has another panel's id", p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q lies over %q at %d, %d", p.Title, other, x, y)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("%q: description %q, unit %q, %d targets, source %q", p.Title, p.Description, p.FieldConfig.Defaults.Unit, len(p.Targets), p.Datasource.UID)
		}
		for _, target := range p.Targets {
			if target.LegendFormat == "" {
				t.Errorf("%q has a query without a legend", p.Title)
			}
		}
	}
	if first := d.Panels[0]; first.Type != "row" || !strings.HasPrefix(first.Title, "Budgets") {
		t.Errorf("the first thing to see is %q", first.Title)
	}
	var names []string
	for _, variable := range d.Templating.List {
		names = append(names, variable.Name)
	}
	if !slices.Equal(names, []string{"datasource", "pool", "class"}) {
		t.Errorf("variables %v", names)
	}
}

func TestEveryAlertTellsItsStory(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian's package prometheus): the alerts' own tests are not run")
	}
	rules := filepath.Join(root, "deploy", "prometheus")
	runCommand(t, rules, promtool, "check", "rules", "rules.yml")
	runCommand(t, rules, promtool, "test", "rules", "rules_test.yml")
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "config", "--syntax-only", filepath.Join(rules, "prometheus.yml")).CombinedOutput(); err != nil {
		t.Errorf("prometheus.yml: %v\n%s", err, out)
	}
	stories := read(t, filepath.Join(rules, "rules_test.yml"))
	for _, group := range loadRules(t).Groups {
		for _, rule := range group.Rules {
			if rule.Alert != "" && !strings.Contains(stories, "alertname: "+rule.Alert) {
				t.Errorf("no test of %s", rule.Alert)
			}
		}
	}
}
