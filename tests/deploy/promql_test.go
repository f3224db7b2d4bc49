package deploy

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v4"
)

// query is a PromQL expression and where it stands.
type query struct{ where, expr string }

// dashboard is what the tests read of cap.json.
type dashboard struct {
	Panels     []panel
	Templating struct {
		List []struct{ Name, Definition string }
	}
}

// panel is one panel of a dashboard.
type panel struct {
	ID          int
	Type, Title string
	Description string
	GridPos     struct{ H, W, X, Y int }
	FieldConfig struct{ Defaults struct{ Unit string } }
	Targets     []struct{ Expr, LegendFormat string }
	Datasource  struct{ UID string }
}

// loadDashboard reads the dashboard.
func loadDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, filepath.Join(root, "deploy", "grafana", "cap.json"))), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// grafanaVariables are what Grafana puts in before it asks Prometheus.
var grafanaVariables = strings.NewReplacer("$__rate_interval", "1m", "$pool", ".*", "$class", ".*")

// dashboardQueries returns the expressions of all panels.
func dashboardQueries(t *testing.T) []query {
	t.Helper()
	var all []query
	for _, p := range loadDashboard(t).Panels {
		for _, target := range p.Targets {
			all = append(all, query{"panel " + p.Title, grafanaVariables.Replace(target.Expr)})
		}
	}
	return all
}

// ruleFile is what the tests read of rules.yml.
type ruleFile struct {
	Groups []struct {
		Rules []struct {
			Record, Alert, Expr string
			Labels              map[string]string
			Annotations         map[string]string
		}
	}
}

// loadRules reads the rules.
func loadRules(t *testing.T) ruleFile {
	t.Helper()
	var rules ruleFile
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join(root, "deploy", "prometheus", "rules.yml"))), &rules); err != nil {
		t.Fatal(err)
	}
	return rules
}

// ruleQueries returns the expressions of all rules.
func ruleQueries(t *testing.T) []query {
	t.Helper()
	var all []query
	for _, group := range loadRules(t).Groups {
		for _, rule := range group.Rules {
			all = append(all, query{"rule " + rule.Record + rule.Alert, rule.Expr})
		}
	}
	return all
}

// exported is what can be asked for: the labels of each metric.
type exported map[string][]string

// add enters a metric with a label, or with none yet.
func (e exported) add(metric string, names ...string) {
	for _, name := range append(names, "job", "instance", "worker") { // which scraping adds
		if !slices.Contains(e[metric], name) {
			e[metric] = append(e[metric], name)
		}
	}
}

// scrape adds what a process exports at url.
func (e exported) scrape(url string) error {
	answer, err := http.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return e.parse(answer.Body)
}

// parse adds what is in Prometheus's text format, under the names that series
// have.
func (e exported) parse(text io.Reader) error {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return err
	}
	for name, family := range families {
		for _, metric := range family.Metric {
			var names []string
			for _, label := range metric.Label {
				names = append(names, label.GetName())
			}
			if metric.Histogram == nil {
				e.add(name, names...)
				continue
			}
			e.add(name+"_count", names...)
			e.add(name+"_sum", names...)
			e.add(name+"_bucket", append(names, "le")...)
			for _, bucket := range metric.Histogram.Bucket {
				e.add(fmt.Sprintf("%s_bucket le=%v", name, bucket.GetUpperBound()))
			}
		}
	}
	return nil
}

// check reports what a query asks for and nothing exports.
func (e exported) check(q query) (problems []string) {
	tree, err := parser.ParseExpr(q.expr)
	if err != nil {
		return []string{err.Error()}
	}
	parser.Inspect(tree, func(node parser.Node, path []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			problems = append(problems, e.checkSelector(node)...)
		case *parser.AggregateExpr:
			problems = append(problems, e.checkGrouping(node)...)
		}
		return nil
	})
	return problems
}

// checkSelector reports a metric, label or bucket that nothing exports.
func (e exported) checkSelector(selector *parser.VectorSelector) (problems []string) {
	known, ok := e[selector.Name]
	if !ok {
		return []string{"nothing exports " + selector.Name}
	}
	for _, matcher := range selector.LabelMatchers {
		if matcher.Name == "__name__" {
			continue
		}
		if !slices.Contains(known, matcher.Name) {
			problems = append(problems, selector.Name+" has no label "+matcher.Name)
		}
		if matcher.Name == "le" && matcher.Type == labels.MatchEqual {
			if _, ok := e[selector.Name+" le="+matcher.Value]; !ok {
				problems = append(problems, selector.Name+" has no bucket that ends at "+matcher.Value)
			}
		}
	}
	return problems
}

// checkGrouping reports a label that is grouped by and that no metric below has.
func (e exported) checkGrouping(aggregate *parser.AggregateExpr) (problems []string) {
	var below []string
	parser.Inspect(aggregate.Expr, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			below = append(below, e[selector.Name]...)
		}
		return nil
	})
	for _, name := range aggregate.Grouping {
		if !slices.Contains(below, name) {
			problems = append(problems, "nothing to group by "+name+" in "+aggregate.String())
		}
	}
	return problems
}

// labelOf finds what a text shows of an alert's or a series' labels.
var labelOf = regexp.MustCompile(`\$labels\.([a-z_]+)|\{\{([a-z_]+)\}\}`)

// checkShown reports a label that a text shows and that none of a query's
// metrics has.
func (e exported) checkShown(q query, text string, own map[string]string) (problems []string) {
	for _, found := range labelOf.FindAllStringSubmatch(text, -1) {
		name := found[1] + found[2]
		if _, ok := own[name]; !ok && !e.result(q)[name] {
			problems = append(problems, "the text shows "+name+", which the result has not")
		}
	}
	return problems
}

// result returns the labels that a query's result can have: those grouped by at
// the top, or else all of its metrics'.
func (e exported) result(q query) map[string]bool {
	all := make(map[string]bool)
	tree, err := parser.ParseExpr(q.expr)
	if err != nil {
		return all
	}
	parser.Inspect(tree, func(node parser.Node, path []parser.Node) error {
		inside := slices.ContainsFunc(path, func(above parser.Node) bool {
			_, ok := above.(*parser.AggregateExpr)
			return ok
		})
		if aggregate, ok := node.(*parser.AggregateExpr); ok && !inside {
			for _, name := range aggregate.Grouping {
				all[name] = true
			}
		}
		if selector, ok := node.(*parser.VectorSelector); ok && !inside {
			for _, name := range e[selector.Name] {
				all[name] = true
			}
		}
		return nil
	})
	return all
}
