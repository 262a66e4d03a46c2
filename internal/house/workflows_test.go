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
