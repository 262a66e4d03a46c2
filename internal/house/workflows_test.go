package house

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// pin is an action of somebody else's as it must be named: by the commit, which nobody can move, with the version that it is.
var pin = regexp.MustCompile(`uses: [\w.-]+(/[\w.-]+)+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)

type workflow struct {
	On          any            `yaml:"on"`
	Permissions map[string]any `yaml:"permissions"`
	Jobs        map[string]struct {
		Environment any               `yaml:"environment"`
		Timeout     any               `yaml:"timeout-minutes"`
		Permissions map[string]string `yaml:"permissions"`
		Steps       []struct {
			Uses string         `yaml:"uses"`
			With map[string]any `yaml:"with"`
			Run  string         `yaml:"run"`
		} `yaml:"steps"`
	} `yaml:"jobs"`
}

// A workflow runs the code of strangers with rights on the repository: what it may is named, and what it runs cannot be exchanged.
func TestWorkflows(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*.yml"))
	if err != nil || len(files) < 3 {
		t.Fatalf("%d workflows, %v", len(files), err)
	}
	actions, err := filepath.Glob(filepath.Join(root, ".github", "actions", "*", "action.yml"))
	if err != nil {
		t.Fatal(err)
	}
	uses := 0
	for _, file := range slices.Concat(files, actions) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(b), "\n") {
			if !strings.Contains(line, "uses: ") || strings.Contains(line, "uses: ./") {
				continue
			}
			uses++
			if !pin.MatchString(strings.TrimSpace(line)) {
				t.Errorf("%s:%d: an action is named by its commit, with its version beside it: %s", filepath.Base(file), n+1, strings.TrimSpace(line))
			}
		}
	}
	if uses < 10 {
		t.Errorf("only %d uses of actions found", uses)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var w workflow
		if err := yaml.Unmarshal(b, &w); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		name := filepath.Base(file)
		if w.Permissions == nil || len(w.Permissions) > 1 || len(w.Permissions) == 1 && w.Permissions["contents"] != "read" {
			t.Errorf("%s: permissions of the workflow are %v: want none, or contents: read; a job that needs more says so itself", name, w.Permissions)
		}
		if on, ok := w.On.(map[string]any); ok {
			if _, bad := on["pull_request_target"]; bad {
				t.Errorf("%s: pull_request_target runs a stranger's change with rights on the repository", name)
			}
		}
		for job, j := range w.Jobs {
			if j.Timeout == nil {
				t.Errorf("%s: job %s has no timeout", name, job)
			}
			writes := false
			for what, right := range j.Permissions {
				writes = writes || right == "write" && what != "id-token"
				if right == "write" && what == "id-token" && j.Environment == nil {
					t.Errorf("%s: job %s gets a token for the cloud without an environment that somebody approves", name, job)
				}
			}
			for _, s := range j.Steps {
				if strings.HasPrefix(s.Uses, "actions/checkout@") && s.With["persist-credentials"] != false {
					t.Errorf("%s: job %s leaves its token in the checkout", name, job)
				}
				if writes && strings.HasPrefix(s.Uses, "actions/checkout@") {
					t.Errorf("%s: job %s may write and checks the change out", name, job)
				}
				if strings.Contains(s.Run, "${{") {
					t.Errorf("%s: job %s puts an expression into a script, where its value would be run: name it in env: %.80s", name, job, s.Run)
				}
			}
		}
	}
}

// Every scenario that kind can show is run at night, or stands here with the reason.
func TestNightlyRunsTheCatalogue(t *testing.T) {
	read := func(parts ...string) string {
		b, err := os.ReadFile(filepath.Join(append([]string{root}, parts...)...))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	elsewhere := map[string]string{
		"soak": "a job of its own", "security-isolation": "TestKindSecurityIsolation", "capacity": "a search: a dozen runs, as long as the machine bears them",
		"topology-compare": "pairs of runs with a fourth cluster: hours",
	}
	night := read(".github", "workflows", "nightly.yml")
	names := strings.Fields(regexp.MustCompile(`(?m)^ +scenarios: (\S+ .*)$`).FindStringSubmatch(night)[1])
	usual := regexp.MustCompile(`(?m)^\tnames := \[\]string\{(.*)\}$`).FindStringSubmatch(read("cmd", "sim", "kind_test.go"))[1]
	for q := range strings.SplitSeq(usual, ", ") {
		names = append(names, strings.Trim(q, `"`))
	}
	files, err := filepath.Glob(filepath.Join(root, "scenarios", "*.yaml"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d scenarios: %v", len(files), err)
	}
	there := map[string]bool{}
	for _, f := range files {
		var s struct {
			Name     string   `yaml:"name"`
			Runtimes []string `yaml:"runtimes"`
		}
		if err := yaml.Unmarshal([]byte(read("scenarios", filepath.Base(f))), &s); err != nil {
			t.Fatal(err)
		}
		there[s.Name] = true
		if len(s.Runtimes) > 0 && !slices.Contains(s.Runtimes, "kind") {
			continue
		}
		if runs := slices.Contains(names, s.Name); runs == (elsewhere[s.Name] != "") {
			t.Errorf("%s: at night it is run: %v; a reason why not: %q", s.Name, runs, elsewhere[s.Name])
		}
	}
	for _, name := range names {
		if !there[name] {
			t.Errorf("the night runs %s, which is no scenario", name)
		}
	}
	if !strings.Contains(night, `baseline="$BASELINE"`) {
		t.Error("the soak is compared with no baseline")
	}
}
