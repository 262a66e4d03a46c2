package terraform

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// good is the smallest tree without a fault.
var good = map[string]string{
	"root/main.tf": `terraform {
  required_version = ">= 1.11.0"
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}
provider "aws" {}
module "m" {
  source = "../modules/network"
  a      = 1
}
output "o" {
  description = "O."
  value       = module.m.b
}
`,
	"modules/network/main.tf": `terraform {
  required_version = ">= 1.11.0"
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 5.100" }
  }
}
variable "a" {
  description = "A."
  type        = number
}
resource "aws_kms_key" "k" {
  deletion_window_in_days = var.a
  lifecycle {
    prevent_destroy = true
  }
}
resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  cidr_ipv4 = "10.0.0.0/8"
}
output "b" {
  description = "B."
  value       = aws_kms_key.k.arn
}
`,
}

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func judge(t *testing.T, dir string) string {
	t.Helper()
	tree, err := Load(dir)
	if err == nil {
		err = tree.Judge()
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestJudge(t *testing.T) {
	if got := judge(t, write(t, good)); got != "" {
		t.Fatalf("the good tree: %s", got)
	}
	for _, c := range []struct{ file, old, new, want string }{
		{"root/main.tf", "module.m.b", "module.m.c", "root/main.tf:18: module.m.c: modules/network has no such output"},
		{"root/main.tf", "module.m.b", "var.x", "root/main.tf:18: var.x: no such variable"},
		{"root/main.tf", "module.m.b", "module.n.b", "module.n.b: no such module"},
		{"root/main.tf", "  a      = 1\n", "", "root/main.tf:12: module m: modules/network needs the variable a"},
		{"root/main.tf", "  a      = 1\n", "  a = 1\n  z = 2\n", "module m: modules/network has no variable z"},
		{"root/main.tf", `"../modules/network"`, `"terraform-aws-modules/vpc/aws"`, "is no module of this tree: modules are our own"},
		{"root/main.tf", "use_lockfile = true", "use_lockfile = false", "root/main.tf:6: the remote state is not locked and encrypted"},
		{"root/main.tf", "provider \"aws\" {}\n", "", "no root"},
		{"root/main.tf", `, version = "~> 5.100"`, "", "root: the provider aws has no version"},
		{"root/main.tf", "provider \"aws\" {}", "provider \"aws\" {", "root/main.tf:20: a block without its closing brace"},
		{"modules/network/main.tf", "prevent_destroy = true", "prevent_destroy = false", "modules/network/main.tf:11: aws_kms_key.k keeps data and has no prevent_destroy"},
		{"modules/network/main.tf", "10.0.0.0/8", "0.0.0.0/0", "modules/network/main.tf:18: aws_vpc_security_group_ingress_rule.endpoints lets everybody in"},
		{"modules/network/main.tf", "aws_kms_key.k.arn", "aws_kms_key.gone.arn", "aws_kms_key.gone: no such resource"},
		{"modules/network/main.tf", "= var.a", "= 7", "modules/network/main.tf:7: variable a is not used"},
		{"modules/network/main.tf", "= var.a", "= local.a", "local.a: no such local value"},
		{"modules/network/main.tf", "= var.a", "= data.aws_vpc.x.id", "data.aws_vpc.x: no such data source"},
		{"modules/network/main.tf", "  description = \"A.\"\n", "", "variable a has no description"},
		{"modules/network/main.tf", `"aws_kms_key" "k"`, `"aws_kms_key"`, "resource with 1 labels is no block of a module"},
		{"modules/network/main.tf", `_rule" "endpoints"`, `_rule" "more"`, "modules/network/main.tf:17: aws_vpc_security_group_ingress_rule.more of modules/network is a way that is in no list"},
		{"modules/network/main.tf", "output \"b\"", "resource \"aws_route\" \"x\" {\n  route_table_id = \"r\"\n}\noutput \"b\"", "aws_route.x of modules/network is a way that is in no list"},
		{"modules/network/main.tf", "output \"b\"", "resource \"aws_route_table\" \"x\" {\n  route {\n    cidr_block = \"10.0.0.0/8\"\n  }\n}\noutput \"b\"", "aws_route_table.x has routes inside"},
	} {
		files := maps.Clone(good)
		if !strings.Contains(files[c.file], c.old) {
			t.Fatalf("%q is not in %s", c.old, c.file)
		}
		files[c.file] = strings.Replace(files[c.file], c.old, c.new, 1)
		if got := judge(t, write(t, files)); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q for %q: %q, want %q", c.file, c.new, c.old, got, c.want)
		}
	}
}

// dir is the code of this repository.
const dir = "../../eks/terraform"

func TestOwnCodeReads(t *testing.T) {
	tree, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Judge(); err != nil {
		t.Error(err)
	}
	if got := strings.Join(tree.Roots, " "); got != "datacenter kafka monitoring registry" {
		t.Errorf("roots: %s", got)
	}
	// The reader sees as much as there is: a count that shrinks is a reader that stopped early.
	resources := 0
	for _, m := range tree.Modules {
		resources += len(m.Resources)
	}
	if resources < 60 {
		t.Errorf("%d resources read", resources)
	}
}

// The tests of terraform compare the rules and routes that they know with flows.yaml: one of another name would pass them all.
func TestNoFurtherWays(t *testing.T) {
	tree, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ module, kind, body string }{
		{"modules/cluster", "aws_vpc_security_group_egress_rule", "cidr_ipv4 = \"10.66.0.0/18\""},
		{"modules/cluster", "aws_vpc_security_group_ingress_rule", "cidr_ipv4 = \"10.66.0.0/18\""},
		{"datacenter", "aws_security_group_rule", "type = \"egress\""},
		{"modules/network", "aws_route", "destination_cidr_block = \"10.66.0.0/16\""},
		{"datacenter", "aws_route", "destination_cidr_block = \"10.66.0.0/16\""},
		{"kafka", "aws_vpc_peering_connection", "peer_vpc_id = \"vpc\""},
		{"kafka", "aws_ec2_transit_gateway_vpc_attachment", "vpc_id = \"vpc\""},
		{"kafka", "aws_nat_gateway", "subnet_id = \"subnet\""},
	} {
		file, err := Parse(fmt.Appendf(nil, "resource %q \"further\" {\n  %s\n}\n", c.kind, c.body))
		if err != nil {
			t.Fatal(err)
		}
		m := tree.Modules[c.module]
		m.Resources = maps.Clone(m.Resources)
		m.Resources[c.kind+".further"] = Place{file.Blocks[0], c.module + "/further.tf"}
		want := c.module + "/further.tf:1: " + c.kind + ".further of " + c.module + " is a way that is in no list"
		if err := m.ways(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	// A list with names that nothing has would let them come back unseen.
	for module, listed := range knownWays {
		for _, address := range listed {
			if _, ok := tree.Modules[module].Resources[address]; !ok {
				t.Errorf("%s has no %s", module, address)
			}
		}
	}
}

// The output that the tests read rules from leaves none out.
func TestRulesOutputHasEveryRule(t *testing.T) {
	tree, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := tree.Modules["modules/cluster"]
	value, ok := m.Outputs["rules"].Attribute("value")
	if !ok {
		t.Fatal("modules/cluster has no output rules")
	}
	read := references(value.Expr)
	rules := 0
	for address, r := range m.Resources {
		if !strings.HasPrefix(r.Labels[0], "aws_vpc_security_group_") {
			continue
		}
		rules++
		if !slices.Contains(read, address) {
			t.Errorf("the output rules lacks %s", address)
		}
	}
	if rules < 10 {
		t.Errorf("%d rules", rules)
	}
}
