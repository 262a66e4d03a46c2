package terraform

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// plugins points Check at provider plug-ins of this machine where the environment does not say any.
func plugins(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath(Binary); err != nil {
		t.Skip("the program terraform is not in PATH")
	}
	if os.Getenv(PluginsEnv) == "" {
		t.Skipf("no folder of provider plug-ins: %s is not set", PluginsEnv)
	}
}

func TestCheckWithoutTheProgram(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	rep, err := Check(t.Context(), dir, Download)
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Ran) > 0 || len(rep.Skipped) != 1 || !strings.Contains(rep.Skipped[0], "not in PATH") {
		t.Errorf("%+v", rep)
	}
}

func TestCheckReadsFirst(t *testing.T) {
	rep, err := Check(t.Context(), write(t, map[string]string{"root/main.tf": "provider \"aws\" {\n"}), Download)
	if err == nil || !strings.Contains(err.Error(), "root/main.tf:2: a block without its closing brace") {
		t.Errorf("error: %v", err)
	}
	if len(rep.Ran) > 0 || len(rep.Skipped) != 1 || !strings.Contains(rep.Skipped[0], "not run") {
		t.Errorf("%+v", rep)
	}
}

// fake puts a program named terraform first in PATH.
func fake(t *testing.T, script string) {
	t.Helper()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, Binary), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestCheckTellsWhatCannotBeHadFromWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct{ script, skipped, err string }{
		"no provider": {`[ "$1" != init ] || { echo "Error: Failed to query available provider packages"; exit 1; }`, "the provider cannot be had here", ""},
		"init":        {`[ "$1" != init ] || { echo "Error: Module not found"; exit 1; }`, "", "terraform init of datacenter: exit status 1\nError: Module not found"},
		"format":      {`[ "$1" != fmt ] || { echo "main.tf"; exit 3; }`, "", "terraform fmt: exit status 3\nmain.tf"},
		"validate":    {`[ "$1" != validate ] || { echo "Error: bad"; exit 1; }`, "", "terraform validate of datacenter: exit status 1\nError: bad"},
		"test":        {`[ "$1" != test ] || { echo "Failure! 1 passed, 1 failed."; exit 1; }`, "", "terraform test of datacenter: exit status 1\nFailure!"},
		"no test":     {`[ "$1" != test ] || echo "Success! 0 passed, 0 failed."`, "", "terraform test of datacenter: no test was run"},
		"account":     {`[ "$1" != test ] || { env | grep -q ^AWS_ && exit 1; echo "Success! 1 passed, 0 failed."; }`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AWS_PROFILE", "production")
			fake(t, c.script)
			t.Setenv(PluginsEnv, "")
			rep, err := Check(t.Context(), dir, Download)
			if got := strings.Join(rep.Skipped, "\n"); (got == "") != (c.skipped == "") || !strings.Contains(got, c.skipped) {
				t.Errorf("skipped: %q, want %q", got, c.skipped)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error: %v, want %q", err, c.err)
			}
		})
	}
}

// Without being asked a check downloads nothing: it runs the whole program only where the provider is on the machine.
func TestCheckDownloadsNothingUnasked(t *testing.T) {
	provider := filepath.Join("registry.terraform.io", "hashicorp", "aws", "5.100.0")
	named, home := t.TempDir(), t.TempDir()
	mirror := filepath.Join(home, ".terraform.d", "plugins")
	for _, folder := range []string{named, mirror} {
		if err := os.MkdirAll(filepath.Join(folder, provider), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Join(t.TempDir(), "calls")
	script := `echo "$@" >> ` + log + `; [ "$1" != test ] || echo "Success! 1 passed, 0 failed."`
	for name, c := range map[string]struct {
		use         Use
		named, home string
		init        string // how the provider was asked for; "": not at all
		ran         int
		skipped     string
	}{
		"no provider":    {Offline, "", t.TempDir(), "", 1, "the provider is not on this machine"},
		"named":          {Offline, named, t.TempDir(), "-plugin-dir=" + named, 5, ""},
		"own mirror":     {Offline, "", home, "-plugin-dir=" + mirror, 5, ""},
		"asked":          {Download, "", home, "-input=false", 5, ""},
		"asked, named":   {Download, named, home, "-plugin-dir=" + named, 5, ""},
		"refused":        {Reading, named, home, "", 0, ""},
		"named and gone": {Offline, filepath.Join(named, "gone"), home, "-plugin-dir=" + filepath.Join(named, "gone"), 5, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat("/usr/share/terraform/plugins"); err == nil && name == "no provider" {
				t.Skip("this machine has a folder of plug-ins in a place of the system")
			}
			_ = os.Remove(log)
			t.Setenv(PluginsEnv, c.named)
			t.Setenv("HOME", c.home)
			fake(t, script)
			rep, err := Check(t.Context(), dir, c.use)
			if err != nil {
				t.Fatal(err)
			}
			if len(rep.Ran) != c.ran || !strings.Contains(strings.Join(rep.Skipped, "\n"), c.skipped) || len(rep.Skipped) > 0 && c.skipped == "" {
				t.Errorf("%+v", rep)
			}
			calls, _ := os.ReadFile(log)
			inits := strings.Count(string(calls), "init ")
			if want := min(len(c.init), 1) * 4; inits != want || strings.Count(string(calls), c.init+"\n") < inits {
				t.Errorf("%d calls of init, want %d with %s:\n%s", inits, want, c.init, calls)
			}
		})
	}
}

func TestCheckEnds(t *testing.T) {
	fake(t, `[ "$1" != fmt ] || exec sleep 60`)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := Check(ctx, dir, Download); err == nil || time.Since(start) > 15*time.Second {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
}

func TestCheckOwnCode(t *testing.T) {
	if testing.Short() {
		t.Skip("runs terraform test of every root, minutes")
	}
	plugins(t)
	before := listing(t)
	rep, err := Check(t.Context(), dir, Offline)
	if err != nil {
		t.Error(err)
	}
	if len(rep.Skipped) > 0 || len(rep.Ran) != 5 {
		t.Errorf("%+v", rep)
	}
	if after := listing(t); after != before {
		t.Errorf("the folder was written to: %s, before %s", after, before)
	}
}

func listing(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		out.WriteString(path + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// The tests of the code are tested: each of these changes has to fail one.
func TestChangesThatMustFail(t *testing.T) {
	if testing.Short() {
		t.Skip("runs terraform test for each change, minutes")
	}
	plugins(t)
	for _, c := range []struct{ root, file, old, new, want string }{
		{"datacenter", "modules/cluster/main.tf", "endpoint_public_access  = false", "endpoint_public_access  = true", "has a public address"},
		{"datacenter", "datacenter/main.tf", "closed   = true", "closed   = false", "a way to the internet"},
		{"datacenter", "modules/link/main.tf", "].links\n", "].nodes\n", "Routes between networks and flows differ"},
		{"kafka", "modules/plan/main.tf", "cidr  = local.sources[rs[0].flow.from.cluster]", `cidr  = "10.0.0.0/8"`, "Rules of the load balancers and flows to kafka differ"},
		{"kafka", "modules/plan/main.tf", "if f.to.cluster == var.cluster\n    ]) : r.key => r...", "if f.to.cluster == var.cluster && f.name != \"index\"\n    ]) : r.key => r...", "Rules of the load balancers and flows to kafka differ"},
		{"kafka", "modules/cluster/nodes.tf", `encrypted             = "true"`, `encrypted             = "false"`, "volumes are not encrypted"},
		{"kafka", "modules/cluster/policies.tf", `Action    = ["ec2:AttachVolume", "ec2:DetachVolume", "ec2:ModifyVolume"]`, `Action    = ["ec2:AttachVolume", "ec2:DeleteVolume"]`, "may delete volumes"},
		{"kafka", "modules/cluster/policies.tf", "Action   = \"ec2:CreateNetworkInterface\"\n        Resource = local.interfaces\n", "Action   = \"ec2:CreateNetworkInterface\"\n        Resource = local.interfaces\n        Condition = { ArnEquals = { \"ec2:Vpc\" = \"arn\" } }\n", "cannot make an interface"},
		{"kafka", "modules/rights/main.tf", `"secretsmanager:DeleteResourcePolicy", `, "", "when it hands a secret on"},
		{"kafka", "modules/plan/main.tf", "zones = 3", "zones = 2", "each.value.zone is 2"},
		{"datacenter", "modules/cluster/security.tf", "prefix_list_id    = var.network.s3_prefix_list_id", "cidr_ipv4 = \"10.66.0.0/18\"", "A rule inside the network is wider"},
		{"datacenter", "modules/cluster/security.tf", "kubelet = 10250", "kubelet = 22", "A rule inside the network is wider"},
		{"kafka", "modules/cluster/main.tf", `authentication_mode                         = "API"`, `authentication_mode = "API_AND_CONFIG_MAP"`, "without an access entry"},
		{"kafka", "modules/cluster/main.tf", "bootstrap_cluster_creator_admin_permissions = false", "bootstrap_cluster_creator_admin_permissions = true", "without an access entry"},
		{"kafka", "modules/cluster/main.tf", "type       = \"namespace\"\n    namespaces = [var.cluster]", "type = \"cluster\"", "Deployers or observers may do something else"},
		{"kafka", "modules/cluster/main.tf", "AmazonEKSViewPolicy", "AmazonEKSEditPolicy", "Deployers or observers may do something else"},
		{"kafka", "modules/cluster/iam.tf", `"ecr:GetDownloadUrlForLayer"]`, `"ecr:GetDownloadUrlForLayer", "ecr:PutImage"]`, "A role of the nodes, the control plane"},
		{"kafka", "modules/cluster/iam.tf", "Resource = aws_kms_key.secrets.arn", `Resource = "*"`, "may do something to everything"},
		{"kafka", "modules/cluster/iam.tf", "policy/AmazonEKSWorkerNodePolicy", "policy/AdministratorAccess", "a managed policy is added"},
		{"kafka", "modules/network/main.tf", `"logs:PutLogEvents"]`, `"logs:*"]`, "A role of the nodes, the control plane"},
		{"kafka", "modules/cluster/nodes.tf", `addon_name    = "coredns"`, `addon_name    = "kube-proxy"`, "An add-on is missing"},
		{"monitoring", "monitoring/main.tf", `zones = [0], size = 1, instance = "r7i.large", tainted = true`, `zones = [0], size = 1, instance = "r7i.large"`, "shares nodes with something else"},
		{"monitoring", "monitoring/main.tf", "search  = { zones = [0, 1, 2]", "search  = { zones = [0, 1]", "has no nodes in one of the zones"},
	} {
		t.Run(c.root+" "+c.want, func(t *testing.T) {
			work := t.TempDir()
			if err := copyFor(dir, work); err != nil {
				t.Fatal(err)
			}
			code := filepath.Join(work, "eks", "terraform")
			file := filepath.Join(code, filepath.FromSlash(c.file))
			b, err := os.ReadFile(file)
			if err != nil || !strings.Contains(string(b), c.old) {
				t.Fatalf("%q is not in %s (%v)", c.old, c.file, err)
			}
			if err := os.WriteFile(file, []byte(strings.Replace(string(b), c.old, c.new, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			bin, _ := exec.LookPath(Binary)
			skipped, err := runner{bin, work, os.Getenv(PluginsEnv)}.root(t.Context(), filepath.Join(code, c.root), c.root)
			if skipped != "" || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("not noticed: skipped %q, error %v", skipped, err)
			}
		})
	}
}
