package probe

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triad/internal/manifests"
)

func TestAllowed(t *testing.T) {
	rule := func(typ, name string, ops ...string) Rule { return Rule{Type: typ, Name: name, Operations: ops} }
	prefix := func(r Rule) Rule { r.Prefix = true; return r }
	deny := func(r Rule) Rule { r.Deny = true; return r }
	for _, c := range []struct {
		name          string
		rules         []Rule
		typ, on, op   string
		super, expect bool
	}{
		{"nothing allows", nil, "topic", "a", "Read", false, false},
		{"by name", []Rule{rule("topic", "a", "Read")}, "topic", "a", "Read", false, true},
		{"another name", []Rule{rule("topic", "a", "Read")}, "topic", "ab", "Read", false, false},
		{"another type", []Rule{rule("group", "a", "Read")}, "topic", "a", "Read", false, false},
		{"a prefix", []Rule{prefix(rule("topic", "a", "Read"))}, "topic", "ab", "Read", false, true},
		{"a prefix that only looks like every one", []Rule{prefix(rule("topic", "*", "Read"))}, "topic", "ab", "Read", false, false},
		{"every one", []Rule{rule("topic", "*", "Read")}, "topic", "ab", "Read", false, true},
		{"all operations", []Rule{rule("topic", "a", "All")}, "topic", "a", "Delete", false, true},
		{"read implies describe", []Rule{rule("topic", "a", "Read")}, "topic", "a", "Describe", false, true},
		{"describe implies nothing", []Rule{rule("topic", "a", "Describe")}, "topic", "a", "Read", false, false},
		{"altering configurations implies describing them", []Rule{rule("topic", "a", "AlterConfigs")}, "topic", "a", "DescribeConfigs", false, true},
		{"altering configurations does not imply describing the topic", []Rule{rule("topic", "a", "AlterConfigs")}, "topic", "a", "Describe", false, false},
		{"deny wins", []Rule{rule("topic", "a", "Read"), deny(rule("topic", "*", "Read"))}, "topic", "a", "Read", false, false},
		{"denying read leaves describe", []Rule{rule("topic", "a", "Read"), deny(rule("topic", "a", "Read"))}, "topic", "a", "Describe", false, true},
		{"denying everything", []Rule{rule("topic", "a", "Read"), deny(rule("topic", "a", "All"))}, "topic", "a", "Describe", false, false},
		{"the cluster has one name", []Rule{rule("cluster", "", "Describe")}, "cluster", "kafka", "Describe", false, true},
		{"super users", nil, "topic", "a", "Write", true, true},
	} {
		if got := (Principal{Super: c.super, Rules: c.rules}).Allowed(c.typ, c.on, c.op); got != c.expect {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestStrangeUsers(t *testing.T) {
	acl := func(change map[string]any) map[string]any {
		a := map[string]any{"resource": map[string]any{"type": "topic", "name": "a", "patternType": "literal"}, "operations": []any{"Read"}}
		maps.Copy(a, change)
		return a
	}
	of := func(auth, typ string, acls ...any) manifests.Object {
		return manifests.Object{"kind": "KafkaUser", "metadata": map[string]any{"name": "u"}, "spec": map[string]any{
			"authentication": map[string]any{"type": auth}, "authorization": map[string]any{"type": typ, "acls": acls},
		}}
	}
	for _, c := range []struct {
		want string
		o    manifests.Object
	}{
		{"", of("scram-sha-512", "simple", acl(nil), acl(map[string]any{"type": "deny", "host": "*"}))},
		{"authentication tls: only scram-sha-512", of("tls", "simple")},
		{"authorization opa: only simple", of("scram-sha-512", "opa")},
		{`acls[0].operations: "Raed" is unknown`, of("scram-sha-512", "simple", acl(map[string]any{"operations": []any{"Raed"}}))},
		{"acls[0]: no operations", of("scram-sha-512", "simple", acl(map[string]any{"operations": []any{}}))},
		{"acls[1].host 10.0.0.1: every probe comes from one place", of("scram-sha-512", "simple", acl(nil), acl(map[string]any{"host": "10.0.0.1"}))},
		{"acls[0].operation: unknown", of("scram-sha-512", "simple", acl(map[string]any{"operation": "Read"}))},
		{`acls[0].resource.type "topics": unknown`, of("scram-sha-512", "simple", acl(map[string]any{"resource": map[string]any{"type": "topics", "name": "a"}}))},
	} {
		p, err := principal(c.o)
		if c.want == "" {
			want := Principal{Name: "u", Rules: []Rule{{Type: "topic", Name: "a", Operations: []string{"Read"}}, {Type: "topic", Name: "a", Operations: []string{"Read"}, Deny: true}}}
			if diff := cmp.Diff(want, p); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
		} else if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

// A setting of a scenario can sabotage users.yaml: runtimes must read what is declared from the set without settings.
func TestReadTellsSetsApart(t *testing.T) {
	set, err := manifests.Open("../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	clean, err := Read(set, "kind")
	if err != nil {
		t.Fatal(err)
	}
	changed, err := set.Replace("users.yaml", "operations: [Describe, Write]", "operations: [Describe, Write, Delete]")
	if err != nil {
		t.Fatal(err)
	}
	d, err := Read(changed, "kind")
	if err != nil {
		t.Fatal(err)
	}
	if cmp.Equal(clean.Principals, d.Principals) {
		t.Error("a setting of users.yaml changes nothing: a runtime cannot be sabotaged by it")
	}
}
