//go:build !embedded_only

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"triad/internal/check"
	"triad/internal/evidence"
	"triad/internal/runtimes/kind"
)

// probesOf are the probe events of a run.
func probesOf(t *testing.T, reports string, res check.Result) []evidence.Event {
	t.Helper()
	r, err := evidence.Open(filepath.Join(reports, res.Run))
	if err != nil {
		t.Fatal(err)
	}
	var out []evidence.Event
	for _, e := range r.Events {
		if e.Kind == evidence.EventProbe {
			out = append(out, e)
		}
	}
	return out
}

// TestKindSecurityIsolation is claim C4 on three real clusters. Links and rights must be proven. Policies are proven where the
// clusters' network enforces them, and otherwise missing in all three clusters alike, which makes the run inconclusive and is the
// only thing that may.
func TestKindSecurityIsolation(t *testing.T) {
	if os.Getenv("TRIAD_KIND_TESTS") == "" {
		t.Skip("TRIAD_KIND_TESTS is not set: needs a container engine")
	}
	// The sabotaged system first: the run behind it deploys the manifests as they are.
	t.Run("a right too many turns the verdict", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join("..", "..", "scenarios", "security-isolation.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "security-isolation.yaml")
		changed := strings.Replace(string(text), "probes: [links, acls, policies]", "probes: [acls]", 1) + `settings:
  - config: users.yaml
    replace: "{type: group, name: canary-, patternType: prefix}"
    with: "{type: topic, name: system-auth-topic, patternType: literal}"
`
		if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		reports := t.TempDir()
		res, code := kindRun(t, "--reports", reports, file)
		verdictIs(t, res, "security-isolation", check.Fail)
		if code != exitFail {
			t.Errorf("exit %d, want %d", code, exitFail)
		}
		want := map[string]string{"canary->topic/system-auth-topic:Read": evidenceOpen, "canary->group/canary-probe:Read": evidenceClosed}
		for _, e := range probesOf(t, reports, res) {
			if state, ok := want[e.Name]; ok {
				if e.State != state {
					t.Errorf("%s is %s, want %s: %s", e.Name, e.State, state, e.Detail)
				}
				delete(want, e.Name)
			}
		}
		if len(want) > 0 {
			t.Errorf("not probed: %v", want)
		}
	})
	t.Run("as declared", func(t *testing.T) {
		reports := t.TempDir()
		res, code := kindRun(t, "--reports", reports, "security-isolation")
		kinds, closedByNetwork := map[string]int{}, 0
		observer := 0
		for _, e := range probesOf(t, reports, res) {
			kinds[e.Attrs["kind"]+" "+e.State]++
			if e.Attrs["observer"] == "true" {
				observer++
			}
			want := map[string]string{"true": evidenceOpen, "false": evidenceClosed}[e.Attrs["declared"]]
			switch {
			case e.Attrs["kind"] == "policy" && e.State == "skipped":
				if !strings.Contains(e.Detail, "does not enforce NetworkPolicy") {
					t.Errorf("%s: %s", e.Name, e.Detail)
				}
			case e.State != want:
				t.Errorf("%s is %s, declared %s: %s", e.Name, e.State, e.Attrs["declared"], e.Detail)
			case e.Attrs["kind"] == "link" && e.State == evidenceClosed && e.Attrs["listening"] == "true":
				closedByNetwork++
			}
		}
		t.Logf("%v, %d of the harness, %d closed links behind which something listens", kinds, observer, closedByNetwork)
		// Ten declared links; the rights of four principals; a kubelet and an API server listen on every node.
		if kinds["link open"] != 10 || kinds["link closed"] < 100 || kinds["acl open"] < 50 || kinds["acl closed"] < 150 || observer == 0 || closedByNetwork < 6 {
			t.Errorf("probes: %v, %d of the harness, %d closed by the network", kinds, observer, closedByNetwork)
		}
		for _, name := range []string{"evidence", "loss", "isolation"} {
			verdictIs(t, res, name, check.Pass)
		}
		switch kinds["policy skipped"] {
		case 0:
			verdictIs(t, res, "security-isolation", check.Pass)
		case 3:
			verdictIs(t, res, "security-isolation", check.Inconclusive)
			if code != exitInvalid {
				t.Errorf("exit %d, want %d", code, exitInvalid)
			}
		default:
			t.Errorf("policies are enforced in some of the clusters only: %v", kinds)
		}
	})
	t.Run("nothing is left behind", func(t *testing.T) {
		root, err := filepath.Abs("../..")
		if err != nil {
			t.Fatal(err)
		}
		a := &app{stdout: testWriter{t}, stderr: testWriter{t}, getenv: os.Getenv, root: root}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		rt, err := a.kind(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, cluster := range []string{kind.Datacenter, kind.Kafka, kind.Monitoring} {
			c, err := rt.Client(cluster)
			if err != nil {
				t.Fatal(err)
			}
			for api, what := range map[string]string{"v1": "Pod", "networking.k8s.io/v1": "NetworkPolicy"} {
				left, err := c.List(ctx, api, what, "", "app.kubernetes.io/name=triad-probe")
				if err != nil {
					t.Fatal(err)
				}
				for i := range left {
					t.Errorf("%s: %s %s/%s is left", cluster, what, left[i].GetNamespace(), left[i].GetName())
				}
			}
		}
	})
}

// States of probe events.
const (
	evidenceOpen   = "open"
	evidenceClosed = "closed"
)

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}
