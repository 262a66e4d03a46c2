package manifests

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"triad/internal/promql"
)

// Query is one query of a dashboard: of a panel or of an annotation.
type Query struct {
	Dashboard  string   // file name without its ending
	Panel      string   // title, or the name of an annotation
	Ref        string   // letter of the query in its panel
	Datasource string   // prometheus or elasticsearch
	Expr       string   // PromQL, or a Lucene query string; variables are filled in
	Fields     []string // elasticsearch: fields that the answer is grouped by
	TimeField  string   // elasticsearch
	Clusters   []string // that must be in the answer, by views.yaml
	Quiet      string   // why the answer is empty in a healthy system, by views.yaml; else it must not be
}

// Name is dashboard / panel / letter.
func (q Query) Name() string { return q.Dashboard + " / " + q.Panel + " / " + q.Ref }

// Queries returns every query of every dashboard, in a fixed order.
func (r Rendered) Queries() ([]Query, error) {
	files, err := r.ConfigFiles("grafana-dashboards")
	if err != nil {
		return nil, err
	}
	var out []Query
	for _, n := range slices.Sorted(maps.Keys(files)) {
		q, err := dashboardQueries(n, files[n])
		if err != nil {
			return nil, fmt.Errorf("%s: dashboard %s: %w", r.Cluster, n, err)
		}
		out = append(out, q...)
	}
	return out, nil
}

// view is an entry of views.yaml: it is about one query, or about all of a panel.
type view struct {
	Dashboard string   `yaml:"dashboard"`
	Panel     string   `yaml:"panel"`
	Ref       string   `yaml:"ref"`
	Clusters  []string `yaml:"clusters"`
	Why       string   `yaml:"why"`
}

func (v view) matches(q Query) bool {
	return v.Dashboard == q.Dashboard && v.Panel == q.Panel && (v.Ref == "" || v.Ref == q.Ref)
}

// Views returns every query of the dashboards with what views.yaml says of it. An entry that is about no query is an error.
func (s Set) Views(r Rendered) ([]Query, error) {
	queries, err := r.Queries()
	if err != nil {
		return nil, err
	}
	var doc struct {
		Clusters []view `yaml:"clusters"`
		Quiet    []view `yaml:"quiet"`
	}
	if err := s.strictFile("views.yaml", &doc); err != nil {
		return nil, err
	}
	var errs []error
	apply := func(list string, i int, v view, fn func(*Query)) {
		fail := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("manifests/views.yaml: %s[%d]: "+format, append([]any{list, i}, args...)...))
		}
		found := false
		for k := range queries {
			if v.matches(queries[k]) {
				found = true
				fn(&queries[k])
			}
		}
		if !found {
			fail("no query %s / %s / %s in the dashboards", v.Dashboard, v.Panel, v.Ref)
		}
		for _, c := range v.Clusters {
			if !slices.Contains(Clusters(), c) {
				fail("%q is no cluster", c)
			}
		}
	}
	for i, v := range doc.Clusters {
		if len(v.Clusters) == 0 {
			errs = append(errs, fmt.Errorf("manifests/views.yaml: clusters[%d]: names no cluster", i))
		}
		apply("clusters", i, v, func(q *Query) { q.Clusters = v.Clusters })
	}
	for i, v := range doc.Quiet {
		if strings.TrimSpace(v.Why) == "" {
			errs = append(errs, fmt.Errorf("manifests/views.yaml: quiet[%d]: says not why", i))
		}
		apply("quiet", i, v, func(q *Query) { q.Quiet = v.Why })
	}
	return queries, errors.Join(errs...)
}

// dashboard is what is read of Grafana's model of a dashboard.
type dashboard struct {
	UID        string  `json:"uid"`
	Title      string  `json:"title"`
	Panels     []panel `json:"panels"`
	Templating struct {
		List []variable `json:"list"`
	} `json:"templating"`
	Annotations struct {
		List []struct {
			Name       string     `json:"name"`
			BuiltIn    int        `json:"builtIn"`
			Expr       string     `json:"expr"`
			Datasource datasource `json:"datasource"`
		} `json:"list"`
	} `json:"annotations"`
}

type datasource struct {
	UID string `json:"uid"`
}

type panel struct {
	Title   string  `json:"title"`
	Type    string  `json:"type"`
	Panels  []panel `json:"panels"` // of a row that is folded
	Targets []struct {
		RefID      string     `json:"refId"`
		Expr       string     `json:"expr"`
		Query      string     `json:"query"`
		TimeField  string     `json:"timeField"`
		Datasource datasource `json:"datasource"`
		BucketAggs []struct {
			Type  string `json:"type"`
			Field string `json:"field"`
		} `json:"bucketAggs"`
	} `json:"targets"`
}

type variable struct {
	Name     string `json:"name"`
	AllValue string `json:"allValue"`
	Current  struct {
		Value any `json:"value"`
	} `json:"current"`
}

// value is what a variable stands for when nobody chose anything else.
func (v variable) value() string {
	var parts []string
	switch x := v.Current.Value.(type) {
	case string:
		parts = []string{x}
	case []any:
		for _, e := range x {
			parts = append(parts, fmt.Sprint(e))
		}
	}
	if slices.Contains(parts, "$__all") {
		if v.AllValue != "" {
			return v.AllValue
		}
		return ".*"
	}
	return strings.Join(parts, "|")
}

var variables = regexp.MustCompile(`\$\{?(\w+)(?::\w+)?\}?|\[\[(\w+)\]\]`)

// fill puts values in the place of variables: those of the dashboard, and Grafana's own for an hour on a wide screen with a scrape
// interval of 5 s.
func (d dashboard) fill(text string) (string, error) {
	known := map[string]string{"__interval": "15s", "__interval_ms": "15000", "__rate_interval": "1m", "__range": "1h", "__range_s": "3600", "__range_ms": "3600000"}
	for _, v := range d.Templating.List {
		known[v.Name] = v.value()
	}
	var err error
	out := variables.ReplaceAllStringFunc(text, func(m string) string {
		name := strings.Trim(strings.SplitN(strings.Trim(m, "$[]"), ":", 2)[0], "{}")
		v, ok := known[name]
		if !ok {
			err = fmt.Errorf("unknown variable %s in %q", m, text)
		}
		return v
	})
	return out, err
}

func dashboardQueries(name, content string) ([]Query, error) {
	var d dashboard
	if err := json.Unmarshal([]byte(content), &d); err != nil {
		return nil, err
	}
	if d.UID == "" || d.Title == "" {
		return nil, fmt.Errorf("a dashboard has a uid and a title")
	}
	name = strings.TrimSuffix(name, ".json")
	var out []Query
	panels := slices.Clone(d.Panels)
	for i := 0; i < len(panels); i++ {
		p := panels[i]
		panels = append(panels, p.Panels...)
		if p.Type == "row" || p.Type == "text" {
			continue
		}
		if len(p.Targets) == 0 {
			return nil, fmt.Errorf("panel %q has no query", p.Title)
		}
		for _, t := range p.Targets {
			q := Query{Dashboard: name, Panel: p.Title, Ref: t.RefID, Datasource: t.Datasource.UID, Expr: t.Expr}
			switch {
			case q.Datasource == "elasticsearch" && t.Query != "":
				q.Expr, q.TimeField = t.Query, t.TimeField
				for _, b := range t.BucketAggs {
					if b.Type == "terms" {
						q.Fields = append(q.Fields, b.Field)
					}
				}
			case q.Datasource == "prometheus" && t.Expr != "":
			default:
				return nil, fmt.Errorf("panel %q: a query is an expression for prometheus or a query for elasticsearch", p.Title)
			}
			var err error
			if q.Expr, err = d.fill(q.Expr); err != nil {
				return nil, fmt.Errorf("panel %q: %w", p.Title, err)
			}
			out = append(out, q)
		}
	}
	for _, a := range d.Annotations.List {
		if a.BuiltIn != 0 || a.Datasource.UID != "prometheus" {
			continue
		}
		expr, err := d.fill(a.Expr)
		if err != nil {
			return nil, fmt.Errorf("annotation %q: %w", a.Name, err)
		}
		out = append(out, Query{Dashboard: name, Panel: a.Name, Ref: "annotation", Datasource: a.Datasource.UID, Expr: expr})
	}
	return out, nil
}

func checkPromQL(queries []Query) error {
	var errs []error
	for _, q := range queries {
		if q.Datasource != "prometheus" {
			continue
		}
		if _, err := promql.Parser().ParseExpr(q.Expr); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", q.Name(), err))
		}
	}
	return errors.Join(errs...)
}

// isRules tells a rule file of Prometheus by its shape: groups at the top, and none of the versions that Grafana's files have.
func isRules(doc *yaml.Node) bool {
	if len(doc.Content) == 0 {
		return false
	}
	_, groups := child(doc.Content[0], "groups")
	_, version := child(doc.Content[0], "apiVersion")
	return groups != nil && version == nil
}

// Rules returns the rule groups that the central Prometheus loads.
func (r Rendered) Rules() ([]promql.Group, error) {
	files, err := r.ConfigFiles("prometheus-rules")
	if err != nil {
		return nil, err
	}
	var out []promql.Group
	var errs []error
	for _, n := range slices.Sorted(maps.Keys(files)) {
		groups, err := promql.Rules([]byte(files[n]))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: rules %s: %w", r.Cluster, n, err))
		}
		out = append(out, groups...)
	}
	return out, errors.Join(errs...)
}

// SearchIndex is the index pattern of Grafana's Elasticsearch data source.
func (r Rendered) SearchIndex() (string, error) {
	text, err := r.ConfigFile("grafana-datasource-elasticsearch", "datasource-elasticsearch.yaml")
	if err != nil {
		return "", err
	}
	var doc struct {
		Datasources []struct {
			UID      string `yaml:"uid"`
			JSONData struct {
				Index string `yaml:"index"`
			} `yaml:"jsonData"`
		} `yaml:"datasources"`
	}
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return "", fmt.Errorf("%s: datasource-elasticsearch.yaml: %w", r.Cluster, err)
	}
	for _, d := range doc.Datasources {
		if d.UID == "elasticsearch" && d.JSONData.Index != "" {
			return d.JSONData.Index, nil
		}
	}
	return "", fmt.Errorf("%s: datasource-elasticsearch.yaml: no data source elasticsearch with an index", r.Cluster)
}

// AlertNames are the names of the alerts that the manifests define.
func (s Set) AlertNames(overlay string) ([]string, error) {
	objects, err := s.Render("monitoring", overlay)
	if err != nil {
		return nil, err
	}
	groups, err := Rendered{Cluster: "monitoring", Overlay: overlay, Objects: objects}.Rules()
	var out []string
	for _, g := range groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				out = append(out, r.Alert)
			}
		}
	}
	return out, err
}
