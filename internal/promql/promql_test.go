package promql

import (
	"strings"
	"testing"
)

func TestRules(t *testing.T) {
	good := `groups: [{name: g, interval: 5s, labels: {team: a}, rules: [
  {record: "a:b:c", expr: "sum(node_load1)"},
  {alert: A, expr: "a:b:c > 1 or vector(0)", for: 1m, keep_firing_for: 2m, labels: {severity: page}, annotations: {summary: "{{ $value }} in {{ $labels.x }}"}}]}]`
	gs, err := Rules([]byte(good))
	if err != nil || len(gs) != 1 || len(gs[0].Rules) != 2 {
		t.Fatalf("%+v %v", gs, err)
	}
	a := gs[0].Rules[1]
	if a.For.Minutes() != 1 || a.KeepFor.Minutes() != 2 || a.Labels["team"] != "a" || a.Labels["severity"] != "page" {
		t.Errorf("%+v", a)
	}
	if m, ok := Rests(a.Expr, gs, func(n string) bool { return strings.HasPrefix(n, "node_") }); !ok || m != "node_load1" {
		t.Errorf("rests on %q %v, want node_load1 by way of the recording rule", m, ok)
	}
	if m, ok := Rests(a.Expr, gs, func(n string) bool { return n == "other" }); ok {
		t.Errorf("rests on %q", m)
	}
	for _, c := range []struct{ rule, want string }{
		{`{alert: A, expr: "sum(up"}`, "unclosed left parenthesis"},
		{`{alert: A, expr: "up", annotations: {x: "{{ .Nope"}}`, "unclosed action"},
		{`{alert: A, expr: "up", form: 1m}`, "form"},
		{`{record: "a b", expr: "up", for: 1m}`, "for"},
	} {
		if _, err := Rules([]byte("groups: [{name: g, rules: [" + c.rule + "]}]")); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.rule, err, c.want)
		}
	}
}

// A rule that records what it reads must not keep the search going for ever.
func TestRestsEnds(t *testing.T) {
	gs, err := Rules([]byte(`groups: [{name: g, rules: [{record: a, expr: "b"}, {record: b, expr: "a"}]}]`))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := Rests(gs[0].Rules[0].Expr, gs, func(string) bool { return false }); ok {
		t.Error("found nothing twice")
	}
}

func FuzzRules(f *testing.F) {
	f.Add([]byte(`groups: [{name: g, rules: [{alert: A, expr: "up == 0", for: 1m}]}]`))
	f.Fuzz(func(t *testing.T, in []byte) {
		if g, err := Rules(in); err != nil && g != nil {
			t.Fatal("groups beside an error")
		}
	})
}
