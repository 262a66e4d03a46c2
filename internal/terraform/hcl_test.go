package terraform

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	src := `# a comment { "
locals {
  a = 1 # with a comment
  /* another
     one */
  b = {
    c = "x ${join("}", [var.y])} $${not} \" z"
  }
  d = <<-EOT
    text } " [
  EOT
  e = true ? [1, 2] : []
}
resource "aws_vpc" "this" { cidr_block = "10.0.0.0/16" }
`
	file, err := Parse([]byte(src))
	if err != nil {
		t.Fatal(err)
	}
	locals := file.Of("locals")[0]
	var names []string
	for _, a := range locals.Attributes {
		names = append(names, a.Name)
	}
	if diff := cmp.Diff([]string{"a", "b", "d", "e"}, names); diff != "" {
		t.Error(diff)
	}
	if a, _ := locals.Attribute("a"); a.Expr != "1" || a.Line != 3 {
		t.Errorf("a: %+v", a)
	}
	if e, _ := locals.Attribute("e"); e.Expr != "true ? [1, 2] : []" || e.Line != 12 {
		t.Errorf("e: %+v", e)
	}
	vpc := file.Of("resource")[0]
	if diff := cmp.Diff([]string{"aws_vpc", "this"}, vpc.Labels); diff != "" {
		t.Error(diff)
	}
	if cidr, _ := vpc.Attribute("cidr_block"); cidr.Expr != `"10.0.0.0/16"` {
		t.Errorf("cidr_block: %q", cidr.Expr)
	} else if text, ok := cidr.Text(); !ok || text != "10.0.0.0/16" {
		t.Errorf("text: %q %v", text, ok)
	}
}

func TestParseRefuses(t *testing.T) {
	for src, want := range map[string]string{
		"locals {\n  a = 1\n":               "3: a block without its closing brace",
		"a = [1, 2":                         "1: a: '[' is not closed",
		"a = (1]":                           "1: a: ']' closes '('",
		"a = \"x\nb = 2":                    "2: a: a string is not closed on its line",
		"a = \"${x\"":                       "1: a: a string without end",
		"a =\n":                             "1: a: no expression after =",
		"locals {\n  a = 1\n  a = 2\n}":     "3: a: set twice",
		"resource \"x\" = 1":                "1: resource: neither = nor a block follows",
		"a = <<EOT\nx\n":                    "3: a: text after <<EOT without its end",
		"/* x":                              "1: a comment without end",
		"}":                                 "1: '}' where an attribute or a block begins",
		"locals {\n  a = 1 }\n  b = 2\n}\n": "4: '}' where an attribute or a block begins",
	} {
		_, err := Parse([]byte(src))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", src, err, want)
		}
	}
}

func TestReferences(t *testing.T) {
	for expr, want := range map[string][]string{
		`var.a`:                                   {"var.a"},
		`"x-${var.a}-var.b"`:                      {"var.a"},
		`{ var = 1, key = local.k.var.x }`:        {"local.k"},
		`[for v in module.m.out : v.local.x]`:     {"module.m.out"},
		`module.m[each.key].out`:                  {"module.m", "module.m.out"},
		`aws_vpc.this.id`:                         {"aws_vpc.this"},
		`aws_vpc.this["${data.aws_vpc.peer.id}"]`: {"aws_vpc.this", "data.aws_vpc.peer"},
		`"aws:SourceArn"`:                         nil,
		`{ "aws_x.y" = 1 } # var.no`:              nil,
		`"$${var.no} ${{ a = "${var.yes}" }.a}"`:  {"var.yes"},
	} {
		if got := references(expr); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", expr, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a = 1\n", "b \"c\" {\n d = \"${e}\"\n}\n", "a = <<X\nX\n", "a = {\n b = [1]\n}", "/**/", "a = \"%{if x}y%{endif}\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		file, err := Parse([]byte(src))
		if err != nil {
			return
		}
		// Every expression is a piece of the text, and reading it for references ends.
		expressions(file, func(a Attribute) {
			if a.Expr == "" || !strings.Contains(src, a.Expr) {
				t.Errorf("expression %q is not in %q", a.Expr, src)
			}
			if len(code(a.Expr)) != len(a.Expr) {
				t.Errorf("code of %q has another length", a.Expr)
			}
			references(a.Expr)
		})
	})
}
