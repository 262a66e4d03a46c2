package terraform

import (
	"maps"
	"os"
	"path/filepath"
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
  source = "../m"
  a      = 1
}
output "o" {
  description = "O."
  value       = module.m.b
}
`,
	"m/main.tf": `terraform {
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
resource "aws_vpc_security_group_ingress_rule" "r" {
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
		{"root/main.tf", "module.m.b", "module.m.c", "root/main.tf:18: module.m.c: m has no such output"},
		{"root/main.tf", "module.m.b", "var.x", "root/main.tf:18: var.x: no such variable"},
		{"root/main.tf", "module.m.b", "module.n.b", "module.n.b: no such module"},
		{"root/main.tf", "  a      = 1\n", "", "root/main.tf:12: module m: m needs the variable a"},
		{"root/main.tf", "  a      = 1\n", "  a = 1\n  z = 2\n", "module m: m has no variable z"},
		{"root/main.tf", `"../m"`, `"terraform-aws-modules/vpc/aws"`, "is no module of this tree: modules are our own"},
		{"root/main.tf", "use_lockfile = true", "use_lockfile = false", "root/main.tf:6: the remote state is not locked and encrypted"},
		{"root/main.tf", "provider \"aws\" {}\n", "", "no root"},
		{"root/main.tf", `, version = "~> 5.100"`, "", "root: the provider aws has no version"},
		{"root/main.tf", "provider \"aws\" {}", "provider \"aws\" {", "root/main.tf:20: a block without its closing brace"},
		{"m/main.tf", "prevent_destroy = true", "prevent_destroy = false", "m/main.tf:11: aws_kms_key.k keeps data and has no prevent_destroy"},
		{"m/main.tf", "10.0.0.0/8", "0.0.0.0/0", "m/main.tf:18: aws_vpc_security_group_ingress_rule.r lets everybody in"},
		{"m/main.tf", "aws_kms_key.k.arn", "aws_kms_key.gone.arn", "aws_kms_key.gone: no such resource"},
		{"m/main.tf", "= var.a", "= 7", "m/main.tf:7: variable a is not used"},
		{"m/main.tf", "= var.a", "= local.a", "local.a: no such local value"},
		{"m/main.tf", "= var.a", "= data.aws_vpc.x.id", "data.aws_vpc.x: no such data source"},
		{"m/main.tf", "  description = \"A.\"\n", "", "variable a has no description"},
		{"m/main.tf", `"aws_kms_key" "k"`, `"aws_kms_key"`, "resource with 1 labels is no block of a module"},
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
