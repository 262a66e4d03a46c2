//go:build !embedded_only

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"triad/internal/runtimes/kind"
)

// A walk follows pages as somebody does who has nothing but them: in a folder that looks like the root of the repository, with a shell.
type walk struct {
	t    *testing.T
	root string // of the folder
	docs string
	env  []string
}

// page is the text of one.
func (w *walk) page(name string) string {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.docs, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b)
}

// block is the first fenced block of a page behind some words, without the lines that have other words in them: what cannot be followed here.
func (w *walk) block(page, behind string, without ...string) string {
	w.t.Helper()
	_, rest, ok := strings.Cut(w.page(page), behind)
	m := regexp.MustCompile("(?s)```[a-z]*\n(.*?)```").FindStringSubmatch(rest)
	if !ok || m == nil {
		w.t.Fatalf("%s has no block behind %q", page, behind)
	}
	var out strings.Builder
	for line := range strings.Lines(m[1]) {
		if !slices.ContainsFunc(without, func(words string) bool { return strings.Contains(line, words) }) {
			out.WriteString(line)
		}
	}
	return out.String()
}

// follow runs commands in the folder and demands their exit code.
func (w *walk) follow(ctx context.Context, code int, commands string) string {
	w.t.Helper()
	c := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", commands)
	c.Dir, c.Env = w.root, w.env
	out, err := c.CombinedOutput()
	w.t.Logf("$ %s\n%s", strings.TrimSpace(commands), out)
	if c.ProcessState == nil || c.ProcessState.ExitCode() != code {
		w.t.Fatalf("exit %v, want %d: %v", c.ProcessState, code, err)
	}
	return string(out)
}

// TestKindDocs follows what docs/eks.md, docs/production-safety.md and docs/gitops.md say from the moment when three clusters are there, on three that are
// known by contexts of the pages' names. It leaves out what needs an account, Argo CD, or a store with users.
func TestKindDocs(t *testing.T) {
	for _, program := range []string{"bash", "kubectl", "git", "base64"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("the pages use %s: %v", program, err)
		}
	}
	binary := os.Getenv("TRIAD_SIM_BINARY")
	if binary == "" {
		t.Skip("TRIAD_SIM_BINARY is not set: the pages call it")
	}
	l, ctx := newEKSLab(t, 15*time.Minute)
	w := &walk{t: t, root: t.TempDir(), docs: filepath.Join(l.root, "docs")}
	for name, to := range map[string]string{"scenarios": "scenarios", "eks": "eks", "bin/sim": binary} {
		if !filepath.IsAbs(to) {
			to = filepath.Join(l.root, to)
		}
		at := filepath.Join(w.root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(w.root, "manifests"), os.DirFS(filepath.Join(l.root, "manifests"))); err != nil {
		t.Fatal(err)
	}
	secrets := filepath.Join(w.root, "secrets")
	w.env = append(os.Environ(), "KUBECONFIG="+filepath.Join(secrets, "kubeconfig"), "PATH="+filepath.Join(w.root, "bin")+":"+os.Getenv("PATH"))
	var files []string
	rename := ""
	for _, role := range []string{kind.Datacenter, kind.Kafka, kind.Monitoring} {
		files = append(files, l.rt.KubeconfigPath(role))
		rename += fmt.Sprintf("kubectl config rename-context %s triad-%s\n", kind.Context(role), role)
	}
	// What `aws eks update-kubeconfig` would write.
	w.follow(ctx, 0, fmt.Sprintf("mkdir -p -m 700 secrets && KUBECONFIG=%s kubectl config view --flatten > secrets/kubeconfig && chmod 600 secrets/kubeconfig\n%s", strings.Join(files, ":"), rename))
	before := l.documents(ctx)

	// eks.md, section 8, in one shell as there.
	shell := "aws() { test \"$1 $2\" = 'eks update-kubeconfig'; }\n" + w.block("eks.md", "Then name the contexts, from the management network") +
		w.block("eks.md", "and the same of the store's user:", "elasticsearch-")
	out := w.follow(ctx, 0, shell)
	for _, want := range []string{"kafka.kafka.strimzi.io/triad", "kafkatopic.kafka.strimzi.io/canary-topic", "fluentd-0"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	contexts := w.block("production-safety.md", "## The file, and what is asked", "only where the store has users")
	if err := os.WriteFile(filepath.Join(secrets, "eks.yaml"), []byte(contexts), 0o600); err != nil {
		t.Fatal(err)
	}
	run := w.block("eks.md", "its paths are relative to it.")
	if out := w.follow(ctx, exitUsage, "cd secrets\n"+run); !strings.Contains(out, "--yes-production prod-datacenter --yes-production prod-monitoring") || !strings.Contains(out, "WRITE") {
		t.Errorf("it does not say what to confirm:\n%s", out)
	}
	// production-safety.md: before a run, the run, and what is there behind it.
	const named = " --runtime eks --contexts secrets/eks.yaml"
	if out := w.follow(ctx, 0, "kubectl --context triad-kafka auth can-i --list --as-group=triad-observers --as=triad -n kafka\nsim status"+named); !strings.Contains(out, "nothing is left") {
		t.Errorf("status: %s", out)
	}
	out = w.follow(ctx, exitPass, "cd secrets\n"+strings.TrimSpace(run)+" --yes-production prod-datacenter --yes-production prod-monitoring")
	if !strings.Contains(out, "1,200") {
		t.Errorf("1,200 lines are not in what it says")
	}
	leases := regexp.MustCompile("`(kubectl --context triad-datacenter -n datacenter get leases .*?)`").FindStringSubmatch(w.page("production-safety.md"))
	if leases == nil {
		t.Fatal("the page does not say how runs are found without the program")
	}
	if out := w.follow(ctx, 0, leases[1]); !strings.Contains(out, "No resources found") {
		t.Errorf("leases: %s", out)
	}
	if out := w.follow(ctx, 0, "sim down"+named+" --yes-production prod-datacenter --yes-production prod-monitoring"); !strings.Contains(out, "nothing is left of any run") {
		t.Errorf("down: %s", out)
	}
	if n := l.documents(ctx); n != before {
		t.Errorf("%d documents are in the index, there were %d", n, before)
	}

	// gitops.md: what a change does to a cluster, and that a revert takes it back. Nothing is pushed: there is nowhere to.
	change := w.block("gitops.md", "git's.\n")
	change = strings.ReplaceAll(change, " && git push", "")
	change = regexp.MustCompile(`(?m)^# change (\S+), .*$`).ReplaceAllString(change, "sed -i '0,/retention.ms: [0-9]*/s//retention.ms: 43200000/' $1")
	change = strings.Replace(change, "kubectl kustomize eks/argocd/clusters/kafka | diff before.yaml -\n", "kubectl kustomize eks/argocd/clusters/kafka | diff before.yaml - && exit 1\n", 1)
	clone := "rm -rf eks && cp -rL " + filepath.Join(l.root, "eks") + " eks && git init -q . && git config user.email a@example.com && git config user.name a && printf 'secrets\\nbin\\nreports\\nbefore.yaml\\n' > .gitignore && git add . && git commit -qm base\n"
	if out := w.follow(ctx, 0, clone+change); !strings.Contains(out, "43200000") || !strings.HasSuffix(strings.TrimSpace(out), "same") {
		t.Errorf("a change, and back:\n%s", out)
	}
}
