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
	skipped, err := Check(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(skipped) != 1 || !strings.Contains(skipped[0], "not in PATH") {
		t.Errorf("skipped: %q", skipped)
	}
}

func TestCheckReadsFirst(t *testing.T) {
	skipped, err := Check(t.Context(), write(t, map[string]string{"root/main.tf": "provider \"aws\" {\n"}))
	if err == nil || !strings.Contains(err.Error(), "root/main.tf:2: a block without its closing brace") {
		t.Errorf("error: %v", err)
	}
	if len(skipped) != 1 || !strings.Contains(skipped[0], "not run") {
		t.Errorf("skipped: %q", skipped)
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
			skipped, err := Check(t.Context(), dir)
			if got := strings.Join(skipped, "\n"); (got == "") != (c.skipped == "") || !strings.Contains(got, c.skipped) {
				t.Errorf("skipped: %q, want %q", got, c.skipped)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error: %v, want %q", err, c.err)
			}
		})
	}
}

func TestCheckEnds(t *testing.T) {
	fake(t, `[ "$1" != fmt ] || exec sleep 60`)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := Check(ctx, dir); err == nil || time.Since(start) > 15*time.Second {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
}

func TestCheckOwnCode(t *testing.T) {
	if testing.Short() {
		t.Skip("runs terraform test of every root, minutes")
	}
	plugins(t)
	before := listing(t)
	skipped, err := Check(t.Context(), dir)
	if err != nil {
		t.Error(err)
	}
	if len(skipped) > 0 {
		t.Errorf("skipped: %q", skipped)
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
		{"monitoring", "monitoring/main.tf", `zones = [0], size = 1, instance = "r7i.large", tainted = true`, `zones = [0], size = 1, instance = "r7i.large"`, "shares nodes with something else"},
		{"monitoring", "monitoring/main.tf", "search  = { zones = [0, 1, 2]", "search  = { zones = [0, 1]", "has no nodes in one of the zones"},
	} {
		t.Run(c.want, func(t *testing.T) {
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
			skipped, err := runner{bin, work}.root(t.Context(), filepath.Join(code, c.root), c.root)
			if skipped != "" || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("not noticed: skipped %q, error %v", skipped, err)
			}
		})
	}
}
