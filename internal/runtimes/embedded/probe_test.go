package embedded_test

import (
	"strings"
	"testing"

	"triad/internal/check"
	"triad/internal/evidence"
)

func checkNamed(t *testing.T, res *check.Result, name string) check.Check {
	t.Helper()
	for _, c := range res.Checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check %s in %v", name, res.Checks)
	return check.Check{}
}

const probed = `phases: {warm-up: 1s, before: 2s, drain: 30s}
load:
  - {source: control, rate: 20/s}
requires: [security-isolation]
`

// TestProbes: the rights of the committed manifests are proven; what one process cannot show is a missing answer, not a pass.
func TestProbes(t *testing.T) {
	res, dir := runText(t, head+probed+"probes: [links, acls, policies]\n")
	c := checkNamed(t, res, "security-isolation")
	if c.Verdict != check.Inconclusive || !strings.Contains(c.Detail, "2 of ") || !strings.Contains(c.Detail, "loopback") {
		t.Errorf("security-isolation is %s: %s", c.Verdict, c.Detail)
	}
	r, err := evidence.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	kinds, skips := map[string]int{}, map[string]bool{}
	for _, e := range r.Events {
		switch e.Kind {
		case evidence.EventProbe:
			kinds[e.Attrs["kind"]+" "+e.State]++
			if want := map[string]string{"true": "open", "false": "closed"}[e.Attrs["declared"]]; e.Attrs["kind"] == "acl" && e.State != want {
				t.Errorf("%s is %s, declared %s: %s", e.Name, e.State, e.Attrs["declared"], e.Detail)
			}
			if observer := strings.HasPrefix(e.Name, "observer->"); observer && e.Attrs["observer"] != "true" {
				t.Errorf("%s does not say that it is the harness's: %v", e.Name, e.Attrs)
			}
		case evidence.EventSkip:
			skips[e.Name] = true
		}
	}
	if kinds["acl open"] < 50 || kinds["acl closed"] < 150 || kinds["link skipped"] != 1 || kinds["policy skipped"] != 1 || len(kinds) != 4 {
		t.Errorf("probes: %v", kinds)
	}
	if !skips["security-isolation/links"] || !skips["security-isolation/policies"] {
		t.Errorf("skips: %v", skips)
	}
}

// TestProbesOfSabotagedRights: a right too many and a right too few in the deployed manifests turn the verdict, by their names.
func TestProbesOfSabotagedRights(t *testing.T) {
	res, _ := runText(t, head+probed+`probes: [acls]
settings:
  - config: users.yaml
    replace: "{type: group, name: canary-, patternType: prefix}"
    with: "{type: topic, name: system-auth-topic, patternType: literal}"
`)
	c := checkNamed(t, res, "security-isolation")
	if c.Verdict != check.Fail || res.Verdict != check.Fail {
		t.Fatalf("security-isolation is %s: %s", c.Verdict, c.Detail)
	}
	// Open: Describe and Read of the topic, and the rule in the list. Closed: Describe and Read of the group, and the rule.
	if c.Value == nil || *c.Value != 6 {
		t.Errorf("value %v: %s", *c.Value, c.Detail)
	}
	if !strings.Contains(c.Detail, "canary->topic/system-auth-topic:Read is open, declared closed") {
		t.Errorf("detail %q", c.Detail)
	}
}
